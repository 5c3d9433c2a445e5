function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %rax
  xorl %eax, %eax
  jmp     label1
block1:
  testl %esi, %esi
  jz      label3; j label2
block2:
  movq %rsi, %r10
  subl $0x1, %r10d
  leal (%rax, %rsi), %eax
  movq %r10, %rsi
  jmp     label1
block3:
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  cmpl %edx, %esi
  jl      label2; j label1
block1:
  movq %rdx, %rax
  jmp     label3
block2:
  movq %rsi, %rax
  jmp     label3
block3:
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl $0x2, %edi
  movl %esi, %r8d
  cmpl %edi, %r8d
  cmovbl %r8d, %edi
  br_table %rdi, %rcx, %rax
block1:
  jmp     label5
block2:
  jmp     label5
block3:
  jmp     label4
block4:
  movl $0x8, %eax
  jmp     label6
block5:
  movl $0x7, %eax
  jmp     label6
block6:
  movq %rbp, %rsp
  popq %rbp
  retq

