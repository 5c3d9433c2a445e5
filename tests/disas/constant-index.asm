function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl 0x10(%rdi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl 0x7fffffff(%rdi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl $0x80000000, %esi
  movl (%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl $0xffffffff, %esi
  movl (%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl $0xffffffff, %esi
  movl 0x1fffff0(%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl $0xfffffffc, %r8d
  movl %esi, (%rdi, %r8)
  movq %rbp, %rsp
  popq %rbp
  retq

