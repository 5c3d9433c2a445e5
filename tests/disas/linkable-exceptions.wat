;; In a linkable module tags are words that the store gave, and an exception on its way goes where the header says; objects are on the
;; heap that the header names.
(module
  (type $point (struct (field i32) (field i64)))
  (import "other" "tag" (tag $imported (param i64)))
  (import "other" "function" (func $function))
  (func (throw $imported (i64.const 5)))
  (func (result i64)
    (block $caught (result i64)
      (try_table (catch $imported $caught) (call $function))
      (i64.const 0)))
  (func (param i64) (result (ref $point)) (struct.new $point (i32.const 1) (local.get 0)))
  (func (param (ref $point)) (result i64) (struct.get $point 1 (local.get 0)))
  (func (param anyref) (result i32) (ref.test (ref $point) (local.get 0)))
  (func (param anyref) (result i32) (ref.test (ref array) (local.get 0))))
