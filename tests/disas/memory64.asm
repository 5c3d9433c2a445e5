function 0:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq $0xfffffffffffffff8, %r8
  addq -0x10(%rdi), %r8
  uninit  %r9
  xorq %r9, %r9
  leaq (%rdi, %rsi), %r10
  cmpq %r8, %rsi
  cmovaq %r9, %r10
  movq (%r10), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 1:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq $0xffffffffffff0000, %r8
  addq -0x10(%rdi), %r8
  uninit  %r9
  xorq %r9, %r9
  leaq 0xfff8(%rdi, %rsi), %r10
  cmpq %r8, %rsi
  cmovaq %r9, %r10
  movq (%r10), %rax
  movq %rbp, %rsp
  popq %rbp
  retq

function 2:
  pushq %rbp
  movq %rsp, %rbp
block0:
  movq -0x10(%rdi), %rax
  cmpq %rax, %rsi
  seta %r10b
  leaq 0x10001(%rsi), %rcx
  cmpq %rax, %rcx
  seta %al
  orl %eax, %r10d
  uninit  %rax
  xorq %rax, %rax
  leaq 0x10000(%rdi, %rsi), %rcx
  testb %r10b, %r10b
  cmovneq %rax, %rcx
  movsbq (%rcx), %rax
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
  uninit  %r9
  xorq %r9, %r9
  leaq -0xa0(%rdi, %rsi, 8), %r8
  cmpq $0xa, %rsi
  cmovaeq %r9, %r8
  movq (%r8), %r10
  testq %r10, %r10
  sete %r11b
  movzbl %r11b, %eax
  movq %rbp, %rsp
  popq %rbp
  retq

function 5:
  pushq %rbp
  movq %rsp, %rbp
  movq -8(%rdi), %r10
  addq $0x10, %r10
  cmpq %rsp, %r10
  jnbe #trap=stk_ovf
block0:
  movq %rsi, %rdx
  uninit  %rsi
  xorq %rsi, %rsi
  call    User(userextname0)
  movq %rbp, %rsp
  popq %rbp
  retq

