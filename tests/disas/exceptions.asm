function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq %rsi, %rax
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
  movq %r12, (%rsp)
block0:
  movq %rsi, %r12
  call    User(userextname0)
  leal (%rax, %r12), %eax
  movq (%rsp), %r12
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x50, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x40, %rsp
  movq %rbx, 0x10(%rsp)
  movq %r12, 0x18(%rsp)
  movq %r13, 0x20(%rsp)
  movq %r14, 0x28(%rsp)
  movq %r15, 0x30(%rsp)
block0:
  movq %rsi, <offset:1>+8(%rsp)
  movq %rdi, <offset:1>+(%rsp)
  call    User(userextname0); jmp MachLabel(1); catch [default: MachLabel(3)]
block1:
  jmp     label2
block2:
  movq <offset:1>+8(%rsp), %rcx
  leal (%rax, %rcx), %eax
  jmp     label9
block7:
  leal 1(%rcx), %eax
  movq 0x10(%rsp), %rbx
  movq 0x18(%rsp), %r12
  movq 0x20(%rsp), %r13
  movq 0x28(%rsp), %r14
  movq 0x30(%rsp), %r15
  addq $0x40, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block9:
  movq 0x10(%rsp), %rbx
  movq 0x18(%rsp), %r12
  movq 0x20(%rsp), %r13
  movq 0x28(%rsp), %r14
  movq 0x30(%rsp), %r15
  addq $0x40, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block3:
  movq <offset:1>+8(%rsp), %rcx
  movq %rax, %rsi
  testq %rdx, %rdx
  jz      label8; j label4
block4:
  cmpq $0x1, %rdx
  jz      label6; j label5
block5:
  movq <offset:1>+(%rsp), %rdi
  call    User(userextname1)
  ud2
block6:
  jmp     label7
block8:
  movl 8(%rsi), %eax
  jmp     label9

function 3:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movq %rsi, %r9
  movabsq $0x1080000000, %r8
  leaq -0x58(%rdi), %rsi
  movq %r8, -0x58(%rdi)
  movl %r9d, %r8d
  movq %r8, -0x50(%rdi)
  call    User(userextname0)
  ud2

function 4:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movq %rdi, <offset:1>+(%rsp)
  movabsq $0x1080000000, %r8
  movq %r8, -0x58(%rdi)
  movl %esi, %r8d
  movq %r8, -0x50(%rdi)
  jmp     label1
block3:
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block1:
  jmp     label2
block2:
  movl -0x50(%rdi), %eax
  jmp     label3

