;; A call outside of a try_table is as if there were no exceptions; within, it is followed by a jump over the handler, which
;; compares tags and finds what it uses in its frame.
(module
  (tag $t (param i32))
  (tag $u)
  (func $callee (param i32) (result i32)
    (local.get 0))
  (func $plain (param i32) (result i32)
    (i32.add (call $callee (local.get 0)) (local.get 0)))
  (func $caught (param i32) (result i32)
    (block $u
      (block $t (result i32)
        (try_table (result i32) (catch $t $t) (catch $u $u)
          (i32.add (call $callee (local.get 0)) (local.get 0))))
      (return))
    (i32.add (local.get 0) (i32.const 1)))
  (func $throw (param i32)
    (throw $t (local.get 0)))
  (func $throw_within (param i32) (result i32)
    (try_table (result i32) (catch $t 0)
      (throw $t (local.get 0)))))
