;; Loops and indexes as they are refined after the optimiser: bases before loops, counters in one register, vectors as lanes.
(module
  (memory 16)

  ;; Counts from 0 to 256 over three rows: one displacement each, the row's base made before the loop.
  (func (export "rows") (local $row i32) (local $at i32)
    (loop $rows
      (local.set $at (i32.const 0))
      (loop $columns
        (f64.store (i32.add (i32.add (local.get $row) (local.get $at)) (i32.const 4096))
          (f64.add
            (f64.load (i32.add (i32.add (local.get $row) (local.get $at)) (i32.const 8192)))
            (f64.load (i32.add (i32.add (local.get $row) (local.get $at)) (i32.const 16384)))))
        (br_if $columns
          (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 256))))
      (br_if $rows
        (i32.ne (local.tee $row (i32.add (local.get $row) (i32.const 256))) (i32.const 4096)))))

  ;; A list of numbers: the next element's index is loaded as 64 bits.
  (func (export "list") (param $at i32) (result i32) (local $sum i32)
    (loop $next
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $at))))
      (br_if $next (local.tee $at (i32.load (local.get $at)))))
    (local.get $sum))

  ;; A byte beside the lowest byte of a number.
  (func (export "byte") (param $at i32) (param $number i32) (result i32)
    (i32.eq (i32.load8_u (local.get $at)) (i32.and (local.get $number) (i32.const 255))))

  ;; A vector that is multiplied as it is loaded.
  (func (export "product") (param $a i32) (param $b i32) (result v128)
    (f32x4.mul (v128.load (local.get $a)) (v128.load (local.get $b))))

  ;; A vector that is only carried round and taken apart.
  (func (export "lanes") (param $times i32) (result i32) (local $v v128)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $times)))
        (local.set $v
          (i8x16.shuffle 0 1 2 3 16 17 18 19 20 21 22 23 24 25 26 27
            (i32x4.splat (i32.add (i32x4.extract_lane 3 (local.get $v)) (local.get $times)))
            (local.get $v)))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br $again)))
    (i32x4.extract_lane 1 (local.get $v))))
