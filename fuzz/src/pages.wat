;; What images over a base are made of: whole pages that are written alike in one instance and another, a second memory, objects.
(module
  (memory $first (export "first") 20 40)
  (memory $second (export "second") 1 40)
  (global $calls (export "calls") (mut i64) (i64.const 7))
  (type $answer (func (result i32)))
  (table $answers (export "answers") 600 900 funcref)
  (type $node (struct (field i64) (field (ref null $node))))
  (global $list (mut (ref null $node)) (ref.null $node))
  (func $one (result i32) (i32.const 1))
  (func $two (result i32) (i32.const 2))
  (elem declare func $one $two)

  ;; Fills so many pages from one of 500, each with numbers of its own at its ends, as far as they are in the memory. Memory 1 has
  ;; the second half of the pages' numbers.
  (func $span (export "span") (param $seed i64) (param $from i32) (param $pages i32) (local $at i32)
    (local.set $from (i32.rem_u (local.get $from) (i32.const 500)))
    (local.set $pages (i32.rem_u (local.get $pages) (i32.const 120)))
    (loop $next
      (if (i32.eqz (local.get $pages)) (then return))
      (local.set $at (i32.shl (i32.rem_u (local.get $from) (i32.const 250)) (i32.const 12)))
      (if (i32.lt_u (local.get $from) (i32.const 250))
        (then
          (i64.store $first (local.get $at) (i64.add (local.get $seed) (i64.extend_i32_u (local.get $at))))
          (i64.store $first offset=4088 (local.get $at) (local.get $seed)))
        (else
          (if (i32.lt_u (local.get $at) (i32.mul (memory.size $second) (i32.const 65536)))
            (then (i64.store $second (local.get $at) (i64.sub (local.get $seed) (i64.extend_i32_u (local.get $at))))))))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
      (br $next)))
  (func (export "few") (param i64 i32) (call $span (local.get 0) (local.get 1) (i32.const 2)))
  (func (export "clear") (param $from i32) (param $pages i32)
    (memory.fill $first
      (i32.shl (i32.rem_u (local.get $from) (i32.const 250)) (i32.const 12))
      (i32.const 0)
      (i32.shl (i32.rem_u (local.get $pages) (i32.const 40)) (i32.const 12))))
  (func (export "copy") (param $to i32) (param $from i32) (param $pages i32)
    (memory.copy $first $first
      (i32.shl (i32.rem_u (local.get $to) (i32.const 250)) (i32.const 12))
      (i32.shl (i32.rem_u (local.get $from) (i32.const 250)) (i32.const 12))
      (i32.shl (i32.rem_u (local.get $pages) (i32.const 40)) (i32.const 12))))
  (func (export "grow") (param i32) (result i32) (memory.grow $first (i32.and (local.get 0) (i32.const 3))))
  (func (export "grow second") (param i32) (result i32) (memory.grow $second (i32.and (local.get 0) (i32.const 15))))
  (func (export "count") (result i64)
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (global.get $calls))
  (func (export "put") (param i32)
    (table.set $answers (i32.rem_u (local.get 0) (table.size $answers))
      (select (result funcref) (ref.func $one) (ref.func $two) (i32.and (local.get 0) (i32.const 1)))))
  (func (export "ask") (param i32) (result i32)
    (call_indirect $answers (type $answer) (i32.rem_u (local.get 0) (table.size $answers))))
  (func (export "push") (param $value i64) (param $times i32)
    (local.set $times (i32.rem_u (local.get $times) (i32.const 600)))
    (loop $next
      (if (i32.eqz (local.get $times)) (then return))
      (global.set $list (struct.new $node (local.get $value) (global.get $list)))
      (local.set $value (i64.add (local.get $value) (i64.const 3)))
      (local.set $times (i32.sub (local.get $times) (i32.const 1)))
      (br $next)))
  (func (export "pop") (param $times i32)
    (local.set $times (i32.rem_u (local.get $times) (i32.const 900)))
    (loop $next
      (if (i32.eqz (local.get $times)) (then return))
      (if (ref.is_null (global.get $list)) (then return))
      (global.set $list (struct.get $node 1 (global.get $list)))
      (local.set $times (i32.sub (local.get $times) (i32.const 1)))
      (br $next)))
  ;; Of the list and of a word in each of many pages, which maps them.
  (func (export "sum") (param $step i32) (result i64) (local $sum i64) (local $at i32) (local $node (ref null $node))
    (local.set $step (i32.add (i32.const 4096) (i32.shl (i32.and (local.get $step) (i32.const 31)) (i32.const 12))))
    (loop $next
      (if (i32.lt_u (local.get $at) (i32.mul (memory.size $first) (i32.const 65536)))
        (then
          (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load $first (local.get $at))))
          (local.set $at (i32.add (local.get $at) (local.get $step)))
          (br $next))))
    (local.set $node (global.get $list))
    (block $done
      (loop $next
        (br_if $done (ref.is_null (local.get $node)))
        (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (struct.get $node 0 (local.get $node))))
        (local.set $node (struct.get $node 1 (local.get $node)))
        (br $next)))
    (local.get $sum)))
