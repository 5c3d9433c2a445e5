;; Static offsets around the size of the guard, 0x2000000: with the size of the access up to it unchecked, beyond
;; compared with the length in 64 bits.
(module
  (memory 1)
  (func (param i32) (result i32) (i32.load offset=0x1fffffc (local.get 0)))
  (func (param i32) (result i32) (i32.load offset=0x1fffffd (local.get 0)))
  (func (param i32) (result i64) (i64.load offset=0xffffffff (local.get 0)))
  (func (param i32 i32) (i32.store8 offset=0xffffffff (local.get 0) (local.get 1)))
)
