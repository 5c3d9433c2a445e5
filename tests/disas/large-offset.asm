function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movl 0x1fffffc(%rdi, %rsi), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %r10d
  leaq 0x2000001(%r10), %r11
  uninit  %r9
  xorq %r9, %r9
  leaq 0x1fffffd(%rdi, %r10), %r8
  cmpq -0x10(%rdi), %r11
  cmovaq %r9, %r8
  movl (%r8), %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %edx
  movabsq $0x100000007, %rax
  leaq (%rdx, %rax), %rcx
  uninit  %rax
  xorq %rax, %rax
  leaq (%rdi, %rdx), %rdx
  movl $0xffffffff, %esi
  leaq (%rdx, %rsi), %r11
  cmpq -0x10(%rdi), %rcx
  cmovaq %rax, %r11
  movq (%r11), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 3:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movl %esi, %esi
  movabsq $0x100000000, %rax
  leaq (%rsi, %rax), %rcx
  uninit  %rax
  xorq %rax, %rax
  leaq (%rdi, %rsi), %rsi
  movl $0xffffffff, %r8d
  leaq (%rsi, %r8), %r11
  cmpq -0x10(%rdi), %rcx
  cmovaq %rax, %r11
  movb %dl, (%r11)
  movq %rbp, %rsp
  popq %rbp
  retq

