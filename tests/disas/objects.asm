function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  testq %rsi, %rsi
  jz #trap=user13
  movabsq $0x103000000, %r8
  leaq (%rdi, %r8), %r8
  movl %esi, %r9d
  movl 8(%r8, %r9), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movabsq $0x103000000, %r8
  leaq (%rdi, %r8), %rdi
  movl %esi, %r8d
  movsd %xmm0, 0x10(%rdi, %r8)
  movl 8(%rdi, %r8), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movabsq $0x103000000, %r8
  leaq (%rdi, %r8), %r8
  movl %esi, %r9d
  cmpl 8(%r8, %r9), %edx
  jnb #trap=user16
  leal (%rsi, %rdx), %r10d
  movzbq 0x10(%r8, %r10), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  testq %rsi, %rsi
  jz #trap=user17
  jmp     label1
block1:
  testq $0x3, %rsi
  jnz #trap=user17
  jmp     label2
block2:
  movabsq $0x103000000, %rax
  leaq (%rdi, %rax), %rax
  movl %esi, %ecx
  movl $0xfffffffa, %edx
  addl (%rax, %rcx), %edx
  cmpl $0x2, %edx
  jnb #trap=user17
  jmp     label3
block3:
  movq %rsi, %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  testq %rsi, %rsi
  jnz     label2; j label1
block1:
  jmp     label5
block2:
  movabsq $0x103000000, %rax
  leaq (%rdi, %rax), %rax
  movl %esi, %ecx
  movl (%rax, %rcx), %eax
  cmpl $0x7, %eax
  jnz     label3; j label4
block3:
  jmp     label5
block4:
  movl $0x1, %eax
  jmp     label6
block5:
  uninit  %rax
  xorl %eax, %eax
  jmp     label6
block6:
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x40, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
  subq $0x30, %rsp
  movq %rbx, 0x20(%rsp)
  movq %r12, 0x28(%rsp)
block0:
  movq %rsi, %r12
  movdqu %xmm0, <offset:1>+8(%rsp)
  movq %rdi, <offset:1>+(%rsp)
  movq -0x58(%rdi), %rax
  movq -0x60(%rdi), %rcx
  leaq 0x18(%rax), %rdx
  cmpq %rcx, %rdx
  jnbe    label2; j label1
block1:
  movabsq $0x1800000006, %rcx
  movabsq $0x103000000, %rdx
  leaq (%rdi, %rdx), %rdx
  movl %eax, %esi
  movq %rcx, (%rdx, %rsi)
  leaq 0x18(%rax), %rcx
  movq %rcx, -0x58(%rdi)
  movq %rdi, %rbx
  jmp     label3
block3:
  movabsq $0x103000000, %rcx
  leaq (%rbx, %rcx), %rcx
  movl %eax, %edx
  movdqu <offset:1>+8(%rsp), %xmm0
  movsd %xmm0, 0x10(%rcx, %rdx)
  movq %r12, %rsi
  movl %esi, 8(%rcx, %rdx)
  movq 0x20(%rsp), %rbx
  movq 0x28(%rsp), %r12
  addq $0x30, %rsp
  movq %rbp, %rsp
  popq %rbp
  retq
block2:
  movq %rdi, %rbx
  movabsq $0x1800000006, %rsi
  call    User(userextname0)
  jmp     label3

