function 0:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  subl $0x1, %esi
  return_call_known User(userextname0) (0) tmp=%r11 %rdi=%rdi %rsi=%rsi

function 1:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movl %esi, %ecx
  uninit  %rax
  xorq %rax, %rax
  leaq -0xa0(%rdi, %rcx, 8), %rdx
  cmpq $0xa, %rcx
  cmovaeq %rax, %rdx
  movq (%rdx), %rax
  movq %rax, %rcx
  shrq $0x20, %rcx
  cmpl $0x1, %ecx
  jnz     label2; j label1
block1:
  load_ext_name userextname0+0, %rcx
  movl %eax, %eax
  leaq (%rcx, %rax), %r10
  return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi
block2:
  testq %rax, %rax
  jz #trap=user5
  ud2

