;; With 64-bit indexes, an access is checked against the length: one compare where the end of the access at index 0 is
;; within the minimum, else two, since the sum may wrap. A static offset can be beyond all lengths.
(module
  (memory i64 1)
  (table i64 10 10 funcref)
  (func (param i64) (result i64) (i64.load (local.get 0)))
  (func (param i64) (result i64) (i64.load offset=65528 (local.get 0)))
  (func (param i64) (result i32) (i32.load8_s offset=65536 (local.get 0)))
  (func (param i64 i64) (i64.store offset=0xffffffffffffffff (local.get 0) (local.get 1)))
  (func (param i64) (result i32) (ref.is_null (table.get (local.get 0))))
  (func (param i64) (result i64) (memory.grow (local.get 0))))
