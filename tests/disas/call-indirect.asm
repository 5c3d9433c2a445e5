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
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movq %rdi, <offset:1>+(%rsp)
  movl %edx, %ecx
  uninit  %rax
  xorq %rax, %rax
  leaq -0x70(%rdi, %rcx, 8), %rdx
  cmpq $0x3, %rcx
  cmovaeq %rax, %rdx
  movq (%rdx), %rax
  movq %rax, %rcx
  shrq $0x20, %rcx
  cmpl $0x1, %ecx
  jnz     label2; j label1
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

function 2:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movq %rdi, <offset:1>+(%rsp)
  movq -0x78(%rdi), %rax
  movl %edx, %edx
  uninit  %rcx
  xorq %rcx, %rcx
  leaq -0x100078(%rdi, %rdx, 8), %r8
  cmpq %rax, %rdx
  cmovaeq %rcx, %r8
  movq (%r8), %rax
  movq %rax, %rcx
  shrq $0x20, %rcx
  cmpl $0x1, %ecx
  jnz     label2; j label1
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

function 3:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movl $0x1, %r10d
  movl %esi, %edx
  load_ext_name userextname0+0, %rcx
  load_ext_name userextname1+0, %r9
  subq %r9, %rcx
  orq (%rip), %rcx
  movq %r10, %rsi
  call    User(userextname2)
  movq %rbp, %rsp
  popq %rbp
  retq

