function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movdqu 0x10(%rdi, %rsi), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movdqu %xmm0, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movss (%rdi, %rsi), %xmm0
  shufps $0x0, %xmm0, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  pmovsxbw (%rdi, %rsi), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  pextrw $0x3, %xmm0, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movdqa %xmm0, %xmm4
  psubb %xmm1, %xmm4
  paddd %xmm4, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 6:
  pushq %rbp
  movq %rsp, %rbp
block0:
  pmaddwd %xmm1, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 7:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movdqa %xmm0, %xmm4
  movdqa %xmm1, %xmm0
  minps %xmm4, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 8:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movdqa %xmm0, %xmm3
  cmpeqpd %xmm0, %xmm3
  andps (%rip), %xmm3
  minpd %xmm3, %xmm0
  cvttpd2dq %xmm0, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 9:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %xmm3
  xorpd %xmm3, %xmm3
  maxpd %xmm3, %xmm0
  minpd (%rip), %xmm0
  roundpd $0x3, %xmm0, %xmm0
  addpd (%rip), %xmm0
  shufps $0x88, %xmm3, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 10:
  pushq %rbp
  movq %rsp, %rbp
block0:
  unpcklps (%rip), %xmm0
  subpd (%rip), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 11:
  pushq %rbp
  movq %rsp, %rbp
block0:
  pmaddubsw (%rip), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 12:
  pushq %rbp
  movq %rsp, %rbp
block0:
  andq $0x7, %rsi
  movd %esi, %xmm5
  psllw %xmm5, %xmm0
  leaq (%rip), %r9
  shlq $0x4, %rsi
  movdqu (%r9, %rsi), %xmm1
  pand %xmm1, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 13:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %xmm4
  pxor %xmm4, %xmm4
  pcmpeqq %xmm4, %xmm0
  ptest %xmm0, %xmm0
  sete %r10b
  movzbl %r10b, %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 14:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movd %xmm0, %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 15:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq %xmm0, %rax
  movq %rbp, %rsp
  popq %rbp
  retq

