;; A tail call is a jump; arguments beyond the registers go where the caller's own were.
(module
  (type $t (func (param i32) (result i32)))
  (table 10 funcref)
  (func $f (type $t) (return_call $f (i32.sub (local.get 0) (i32.const 1))))
  (func (type $t) (return_call_indirect (type $t) (local.get 0) (local.get 0))))
