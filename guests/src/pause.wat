;; pause: waits for as many microseconds as the number in the query says, and answers with an empty body. What
;; `dormouse simulate --live` deploys in place of the functions of a trace.
(module $pause
  (import "dormouse" "call_header" (func $call_header (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))

  ;; 0  ":query"      16  the query      64  a subscription      128  an event      192  how many events
  (memory (export "memory") 1)
  (data (i32.const 0) ":query")

  (func $handle (export "handle") (result i32)
    (local $at i32) (local $end i32) (local $digit i32) (local $us i64)
    (local.set $end
      (i32.add (i32.const 16)
        (call $call_header (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 48))))
    ;; Longer than there is room for: a failure.
    (if (i32.gt_u (local.get $end) (i32.const 64)) (then (return (i32.const 1))))
    (local.set $at (i32.const 16))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (if (i32.lt_u (local.get $digit) (i32.const 10))
          (then
            (local.set $us
              (i64.add (i64.mul (local.get $us) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (if (i64.eqz (local.get $us)) (then (return (i32.const 0))))
    ;; A subscription to the monotonic clock, relative: the tag at 8 is 0, the clock's id at 16, the timeout in ns at 24.
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.mul (local.get $us) (i64.const 1000)))
    (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192))))
