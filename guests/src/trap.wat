;; trap: fails in every way a module can, after it has already written part of an answer that nobody may see.
;;
;; The first letter after `?` chooses: u unreachable (also without a query), b out of bounds, d division by zero,
;; o integer overflow, c conversion of NaN, n call of a null reference, t call of the wrong type, s stack overflow,
;; e no trap but an error code. The call chain is three deep, for backtraces.
(module $trap
  (import "dormouse" "write_call_output" (func $write_call_output (param i32 i32)))
  (import "dormouse" "call_header" (func $call_header (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "half an answer, never to be seen\n:query")
  (type $number (func (result i32)))
  (table $calls 2 funcref)
  (elem (table $calls) (i32.const 1) func $handle)
  (type $other (func (param i64)))

  (func $recurse (param $depth i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get $depth) (i32.const 1)))))

  (func $fail (param $how i32) (result i32)
    (if (i32.eq (local.get $how) (i32.const 0x62)) (then ;; b
      (return (i32.load (i32.const 0xfffffff0)))))
    (if (i32.eq (local.get $how) (i32.const 0x64)) (then ;; d
      (return (i32.div_u (i32.const 1) (i32.load (i32.const 4096))))))
    (if (i32.eq (local.get $how) (i32.const 0x6f)) (then ;; o
      (return (i32.div_s (i32.const 0x80000000) (i32.sub (i32.load (i32.const 4096)) (i32.const 1))))))
    (if (i32.eq (local.get $how) (i32.const 0x63)) (then ;; c
      (return (i32.trunc_f64_s (f64.const nan)))))
    (if (i32.eq (local.get $how) (i32.const 0x6e)) (then ;; n
      (return (call_indirect $calls (type $number) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 0x74)) (then ;; t
      (call_indirect $calls (type $other) (i64.const 0) (i32.const 1))))
    (if (i32.eq (local.get $how) (i32.const 0x73)) (then ;; s
      (return (call $recurse (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 0x65)) (then ;; e
      (return (i32.const 1))))
    unreachable)

  (func $choose (result i32)
    (drop (call $call_header (i32.const 33) (i32.const 6) (i32.const 1024) (i32.const 1)))
    (i32.add (call $fail (i32.load8_u (i32.const 1024))) (i32.const 0)))

  (func $handle (export "handle") (result i32)
    (call $write_call_output (i32.const 0) (i32.const 33))
    (i32.add (call $choose) (i32.const 0))))
