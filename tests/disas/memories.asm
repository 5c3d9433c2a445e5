function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %r10d
  movq $0xfffffffffffffffc, %r9
  addq -0x10(%rdi), %r9
  uninit  %r11
  xorq %r11, %r11
  leaq (%rdi, %r10), %rax
  cmpq %r9, %r10
  cmovaq %r11, %rax
  movl (%rax), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %r10d
  movq $0xffffffffffffffec, %r9
  addq -0x50(%rdi), %r9
  uninit  %r11
  xorq %r11, %r11
  leaq 0x10010(%rdi, %r10), %rax
  cmpq %r9, %r10
  cmovaq %r11, %rax
  movl (%rax), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0x50(%rdi), %rcx
  movl %esi, %eax
  cmpq %rcx, %rax
  seta %r11b
  leaq 0x20001(%rax), %rdx
  cmpq %rcx, %rdx
  seta %cl
  orl %ecx, %r11d
  uninit  %rcx
  xorq %rcx, %rcx
  leaq 0x30000(%rdi, %rax), %rax
  testb %r11b, %r11b
  cmovneq %rcx, %rax
  movzbq (%rax), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %rsi
  xorq %rsi, %rsi
  movq %rdx, (%rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 4:
  pushq %rbp
  movq %rsp, %rbp
block0:
  uninit  %rsi
  xorq %rsi, %rsi
  movb %dl, (%rsi)
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0x50(%rdi), %rax
  shrq $0x10, %rax
  movq %rbp, %rsp
  popq %rbp
  retq

