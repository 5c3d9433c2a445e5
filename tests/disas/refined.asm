function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %rdx
  xorq %rdx, %rdx
  jmp     label1
block1:
  leaq (%rdi, %rdx), %rax
  uninit  %r8
  xorq %r8, %r8
  jmp     label2
block2:
  movsd 0x2000(%rax, %r8), %xmm0
  addsd 0x4000(%rax, %r8), %xmm0
  movsd %xmm0, 0x1000(%rax, %r8)
  leal 8(%r8), %r8d
  cmpl $0x100, %r8d
  jnz     label3; j label4
block3:
  jmp     label2
block4:
  leal 0x100(%rdx), %edx
  cmpl $0x1000, %edx
  jnz     label5; j label6
block5:
  jmp     label1
block6:
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %rax
  xorl %eax, %eax
  movl %esi, %esi
  jmp     label1
block1:
  movl (%rdi, %rsi), %r11d
  movl 4(%rdi, %rsi), %ecx
  leal (%rax, %rcx), %eax
  testl %r11d, %r11d
  jnz     label2; j label3
block2:
  movq %r11, %rsi
  jmp     label1
block3:
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %r8d
  movzbq (%rdi, %r8), %rdi
  cmpb %dl, %dil
  sete %r8b
  movzbl %r8b, %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %r8d
  movups (%rdi, %r8), %xmm0
  movl %edx, %r8d
  movdqu (%rdi, %r8), %xmm7
  mulps %xmm7, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %xmm0
  pxor %xmm0, %xmm0
  pextrd $0x0, %xmm0, %edi
  pextrd $0x1, %xmm0, %eax
  pextrd $0x2, %xmm0, %r9d
  pextrd $0x3, %xmm0, %r11d
  jmp     label1
block1:
  testl %esi, %esi
  jz      label3; j label2
block2:
  movq %rsi, %rcx
  subl $0x1, %ecx
  leal (%r11, %rsi), %edx
  movq %r9, %r11
  movq %rax, %r9
  movq %rcx, %rsi
  movq %rdi, %rax
  movq %rdx, %rdi
  jmp     label1
block3:
  movq %rbp, %rsp
  popq %rbp
  retq

