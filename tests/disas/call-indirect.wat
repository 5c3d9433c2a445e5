;; An indirect call is one load, one comparison with an immediate, one addition, one call. The length of a table that
;; cannot grow is an immediate.
(module
  (type $unary (func (param i32) (result i32)))
  (table $fixed 3 3 funcref)
  (table $growing 3 funcref)
  (elem (table $fixed) (i32.const 0) func $double)
  (func $double (type $unary) (i32.add (local.get 0) (local.get 0)))
  (func (param i32 i32) (result i32)
    (call_indirect $fixed (type $unary) (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (call_indirect $growing (type $unary) (local.get 0) (local.get 1)))
  (func (param i32) (result i32) (table.grow $growing (ref.func $double) (local.get 0)))
)
