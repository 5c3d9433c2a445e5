function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  leal (%rsi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  testq %rdx, %rdx
  jz #trap=user12
  load_ext_name userextname0+0, %r9
  movl %edx, %r10d
  leaq (%r9, %r10), %r9
  call    *%r9
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  load_ext_name userextname0+0, %r8
  movl %edx, %r9d
  leaq (%r8, %r9), %r10
  return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi

function 3:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movl %edx, %ecx
  uninit  %rax
  xorq %rax, %rax
  leaq -0x70(%rdi, %rcx, 8), %rdx
  cmpq $0x3, %rcx
  cmovaeq %rax, %rdx
  movq (%rdx), %rax
  testq %rax, %rax
  jz #trap=user5
  load_ext_name userextname0+0, %rcx
  movl %eax, %eax
  leaq (%rcx, %rax), %rax
  call    *%rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movq %rdi, <offset:1>+(%rsp)
  movl %edx, %ecx
  uninit  %rax
  xorq %rax, %rax
  leaq -0x90(%rdi, %rcx, 8), %rdx
  cmpq $0x3, %rcx
  cmovaeq %rax, %rdx
  movq (%rdx), %rax
  movq %rax, %rcx
  shrq $0x20, %rcx
  leal -2(%rcx), %ecx
  cmpl $0x2, %ecx
  jnb     label2; j label1
block1:
  load_ext_name userextname0+0, %rcx
  movl %eax, %eax
  leaq (%rcx, %rax), %rax
  call    *%rax
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block2:
  testq %rax, %rax
  jz #trap=user5
  ud2

