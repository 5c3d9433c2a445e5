;; A call through a reference compares it with null and nothing else, and not even that if its type says that it is not null.
;; A table whose elements are of the function's type needs no comparison of types; a type with subtypes is a range of ids.
(module
  (type $unary (func (param i32) (result i32)))
  (type $open (sub (func (param i32) (result i32))))
  (type $closed (sub final $open (func (param i32) (result i32))))
  (table $typed 3 3 (ref null $unary))
  (table $any 3 3 funcref)
  (func $double (type $unary) (i32.add (local.get 0) (local.get 0)))
  (elem declare func $double)
  (func (param i32 (ref null $unary)) (result i32)
    (call_ref $unary (local.get 0) (local.get 1)))
  (func (param i32 (ref $unary)) (result i32)
    (return_call_ref $unary (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (call_indirect $typed (type $unary) (local.get 0) (local.get 1)))
  (func (param i32 i32) (result i32)
    (call_indirect $any (type $open) (local.get 0) (local.get 1)))
)
