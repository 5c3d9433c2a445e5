function 0:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
block0:
  movq    %rbp, %rsi
  movq %rsi, -0x30(%rdi)
  movq -0x18(%rdi), %r8
  uninit  %rsi
  xorl %esi, %esi
  leaq <offset:1>+(%rsp), %rdx
  call    *%r8
  addq $0x10, %rsp
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
  movabsq $0x1080000000, %rsi
  orq -0x58(%rdi), %rsi
  movq -0x40(%rdi), %r8
  movq %rsi, (%r8)
  movq $0x5, 8(%r8)
  movq %r8, %rsi
  call    User(userextname0)
  ud2

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
  movq %rdi, <offset:1>+(%rsp)
  movq -0xd8(%rdi), %rax
  movq %rdi, %rcx
  movq -0xd0(%rcx), %rdi
  movq %rcx, <offset:1>+8(%rsp)
  call    *%rax; jmp MachLabel(1); catch [default: MachLabel(3)]
block1:
  jmp     label2
block2:
  uninit  %rax
  xorq %rax, %rax
  jmp     label6
block6:
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
  movq %rax, %rsi
  movq <offset:1>+8(%rsp), %rdi
  movq -0x58(%rdi), %rax
  cmpq %rax, %rdx
  jz      label5; j label4
block4:
  movq <offset:1>+(%rsp), %rdi
  call    User(userextname0)
  ud2
block5:
  movq 8(%rsi), %rax
  jmp     label6

function 3:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x20, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x10, %rsp
  movq %r12, (%rsp)
  movq %r13, 8(%rsp)
block0:
  movq %rsi, %r13
  movq -0xc8(%rdi), %rsi
  orq (%rip), %rsi
  movq %rdi, %r12
  call    User(userextname0)
  movl %eax, %edi
  movq -0x48(%r12), %r8
  movq %r13, %rsi
  movq %rsi, 0x10(%r8, %rdi)
  movl $0x1, 8(%r8, %rdi)
  movq (%rsp), %r12
  movq 8(%rsp), %r13
  addq $0x10, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movq -0x48(%rdi), %rdi
  movq 0x10(%rdi, %rsi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  testq %rsi, %rsi
  jnz     label2; j label1
block1:
  jmp     label7
block2:
  testq $0x3, %rsi
  jnz     label3; j label4
block3:
  jmp     label7
block4:
  movl %esi, %eax
  movq -0x48(%rdi), %rcx
  movl (%rcx, %rax), %eax
  movq -0xc8(%rdi), %rcx
  cmpq %rcx, %rax
  jnz     label5; j label6
block5:
  jmp     label7
block6:
  movl $0x1, %eax
  jmp     label8
block7:
  uninit  %rax
  xorl %eax, %eax
  jmp     label8
block8:
  movq %rbp, %rsp
  popq %rbp
  retq

function 6:
  pushq %rbp
  movq %rsp, %rbp
block0:
  testq %rsi, %rsi
  jnz     label2; j label1
block1:
  jmp     label7
block2:
  testq $0x3, %rsi
  jnz     label3; j label4
block3:
  jmp     label7
block4:
  movl %esi, %eax
  movq -0x48(%rdi), %rcx
  movl (%rcx, %rax), %eax
  cmpl $0x40000000, %eax
  jb      label5; j label6
block5:
  jmp     label7
block6:
  movl $0x1, %eax
  jmp     label8
block7:
  uninit  %rax
  xorl %eax, %eax
  jmp     label8
block8:
  movq %rbp, %rsp
  popq %rbp
  retq

