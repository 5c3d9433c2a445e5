function 0:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movl %esi, %eax
  leaq <offset:1>+(%rsp), %r11
  movq %rax, <offset:1>+(%rsp)
  movl %edx, %eax
  movq %rax, <offset:1>+8(%rsp)
  movq    %rbp, %rax
  movq %rax, -0x30(%rdi)
  movq -0x18(%rdi), %rax
  uninit  %rsi
  xorl %esi, %esi
  movq %r11, %rdx
  call    *%rax
  movl <offset:1>+(%rsp), %eax
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0xf0(%rdi), %rcx
  movl %esi, %eax
  movq $0xfffffffffffffff8, %r11
  addq (%rcx), %r11
  uninit  %rcx
  xorq %rcx, %rcx
  movq -0xf8(%rdi), %rdx
  leaq 4(%rdx, %rax), %rdx
  cmpq %r11, %rax
  cmovaq %rcx, %rdx
  movl (%rdx), %eax
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
  movq -0xd0(%rdi), %r8
  movq -0xc8(%rdi), %rdi
  call    *%r8
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movq -0xd0(%rdi), %r10
  movq -0xc8(%rdi), %rdi
  return_call_unknown %r10 (0) tmp=%r11 %rdi=%rdi %rsi=%rsi %rdx=%rdx

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
  movq -0xe0(%rdi), %rax
  movq (%rax), %rax
  movl %ecx, %r8d
  uninit  %rcx
  xorq %rcx, %rcx
  movq -0xe8(%rdi), %r9
  leaq (%r9, %r8, 8), %r9
  cmpq %rax, %r8
  cmovaeq %rcx, %r9
  movq (%r9), %rax
  movq %rax, %rcx
  shrq $0x20, %rcx
  movl %ecx, %ecx
  movq -0xc0(%rdi), %r8
  cmpq %r8, %rcx
  jnz     label2; j label1
block1:
  movl %eax, %eax
  shlq $0x4, %rax
  movq -0x38(%rdi), %rcx
  movq (%rcx, %rax), %r8
  movq 8(%rcx, %rax), %rdi
  call    *%r8
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block2:
  testq %rax, %rax
  jz #trap=user5
  ud2

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0xd8(%rdi), %rsi
  movq (%rsi), %rsi
  movq %rsi, -0x58(%rdi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 6:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0x90(%rdi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

