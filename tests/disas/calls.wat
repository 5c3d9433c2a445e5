;; Direct calls, the stub of an import, and the stack limit in prologues: a leaf without a frame has none.
(module
  (import "env" "f" (func $f (param i32 f32 i64) (result f64)))
  (memory 1)
  (global $counter (mut i32) (i32.const 0))
  (global $constant i32 (i32.const 42))
  (func $leaf (param i32) (result i32) (i32.add (local.get 0) (global.get $constant)))
  (func (param i32) (result i32)
    (global.set $counter (i32.add (global.get $counter) (i32.const 1)))
    (i32.add (call $leaf (local.get 0)) (global.get $counter)))
  (func (result f64) (call $f (i32.const 1) (f32.const 2) (i64.const 3)))
  (func (param i32) (result i32) (memory.grow (local.get 0)))
)
