function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  mulps %xmm1, %xmm0
  addps %xmm2, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %xmm3
  pcmpeqd %xmm3, %xmm3
  psllq $0x3f, %xmm3
  xorpd %xmm3, %xmm0
  mulpd %xmm1, %xmm0
  addpd %xmm2, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movdqa %xmm0, %xmm6
  movdqa %xmm2, %xmm0
  movdqa %xmm1, %xmm4
  pblendvb %xmm0, %xmm6, %xmm4
  movdqa %xmm4, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  pshufb %xmm1, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  pmaddubsw %xmm0, %xmm1
  pmaddwd (%rip), %xmm1
  movdqa %xmm1, %xmm0
  paddd %xmm2, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  cvttpd2dq %xmm0, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 6:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movdqa %xmm0, %xmm4
  movdqa %xmm1, %xmm0
  minps %xmm4, %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

