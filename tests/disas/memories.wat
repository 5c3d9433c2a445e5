;; With several memories, an access is checked against the length of its memory: one compare where the end of the access at
;; index 0 is within the minimum, two otherwise. What no length can reach is a fault without a compare.
(module
  (memory 1 1)
  (memory 2 100)
  (func (param i32) (result i32) (i32.load (local.get 0)))
  (func (param i32) (result i32) (i32.load 1 offset=16 (local.get 0)))
  (func (param i32) (result i32) (i32.load8_u 1 offset=131072 (local.get 0)))
  (func (param i32 i64) (i64.store 0 offset=65529 (local.get 0) (local.get 1)))
  (func (param i32 i32) (i32.store8 1 offset=6553600 (local.get 0) (local.get 1)))
  (func (result i32) (memory.size 1)))
