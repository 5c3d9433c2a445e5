function 0:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x30, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x20, %rsp
block0:
  movl %esi, %ecx
  leaq <offset:1>+(%rsp), %rax
  movq %rcx, <offset:1>+(%rsp)
  movd %xmm0, %ecx
  movl %ecx, %ecx
  movq %rcx, <offset:1>+8(%rsp)
  movq %rdx, <offset:1>+0x10(%rsp)
  movq    %rbp, %rcx
  movq %rcx, -0x30(%rdi)
  movq -0x18(%rdi), %rcx
  uninit  %rsi
  xorl %esi, %esi
  movq %rax, %rdx
  call    *%rcx
  movsd <offset:1>+(%rsp), %xmm0
  addq $0x20, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  leal 0x2a(%rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
  movq %r12, (%rsp)
block0:
  addl $0x1, -0x50(%rdi)
  movq %rdi, %r12
  call    User(userextname0)
  addl -0x50(%r12), %eax
  movq (%rsp), %r12
  addq $0x10, %rsp
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
  movl $0x1, %esi
  movl $0x40000000, %r8d
  movd %r8d, %xmm0
  movl $0x3, %edx
  call    User(userextname0)
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movq %rsi, %r9
  uninit  %rsi
  xorq %rsi, %rsi
  movl %r9d, %edx
  call    User(userextname0)
  movq %rbp, %rsp
  popq %rbp
  retq

