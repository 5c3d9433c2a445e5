function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movl (%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movl 0x4d2(%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movq (%rdi, %rsi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movss (%rdi, %rsi), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movsd (%rdi, %rsi), %xmm0
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movzbq (%rdi, %rsi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 6:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movsbq (%rdi, %rsi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 7:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movswq (%rdi, %rsi), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 8:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movl (%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 9:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movl %edx, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 10:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movq %rdx, 8(%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 11:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movb %dl, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 12:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movw %dx, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 13:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movsd %xmm0, (%rdi, %rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 14:
  pushq %rbp
  movq %rsp, %rbp
block0:
  leal 0x10(%rsi), %esi
  movl (%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

