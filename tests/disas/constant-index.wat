;; Constant indices: those from 2^31 on are positive.
(module
  (memory 1)
  (func (result i32) (i32.load (i32.const 16)))
  (func (result i32) (i32.load (i32.const 0x7fffffff)))
  (func (result i32) (i32.load (i32.const 0x80000000)))
  (func (result i32) (i32.load (i32.const -1)))
  (func (result i32) (i32.load offset=0x1fffff0 (i32.const -1)))
  (func (param i32) (i32.store (i32.const -4) (local.get 0)))
)
