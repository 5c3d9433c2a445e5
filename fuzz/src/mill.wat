;; Computations of milliseconds whose results depend on every step: a register, a flag or a byte that a preemption lost
;; changes them.
(module
  (memory $memory (export "memory") 4 64)
  (global $state (export "state") (mut i64) (i64.const 1))
  (table $table (export "table") 4 funcref)
  (elem (table $table) (i32.const 0) func $add $rotate $multiply $fold)
  (type $step (func (param i64 i64) (result i64)))
  (func $add (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1)))
  (func $rotate (param i64 i64) (result i64) (i64.rotl (local.get 0) (local.get 1)))
  (func $multiply (param i64 i64) (result i64) (i64.mul (local.get 0) (i64.or (local.get 1) (i64.const 1))))
  (func $fold (param i64 i64) (result i64)
    (i64.xor (i64.shr_u (local.get 0) (i64.const 17)) (i64.add (local.get 0) (local.get 1))))

  ;; Calls through the table, chosen by what the last one gave.
  (func (export "indirect") (param $seed i64) (param $times i32) (result i64)
    (local.set $times (i32.or (i32.and (local.get $times) (i32.const 0x1ffff)) (i32.const 1)))
    (loop $next
      (local.set $seed
        (call_indirect $table (type $step) (local.get $seed) (i64.extend_i32_u (local.get $times))
          (i32.and (i32.wrap_i64 (local.get $seed)) (i32.const 3))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (global.set $state (i64.xor (global.get $state) (local.get $seed)))
    (local.get $seed))

  ;; Many values live at a time: integers, floats and vectors.
  (func (export "registers") (param $a i64) (param $x f64) (param $v v128) (param $times i32)
      (result i64 f64 v128 i32)
    (local $b i64) (local $c i64) (local $d i64) (local $e i64) (local $f i64)
    (local $y f64) (local $z f64) (local $s f32) (local $w v128) (local $n i32)
    (local.set $times (i32.or (i32.and (local.get $times) (i32.const 0x1ffff)) (i32.const 1)))
    (local.set $y (f64.const 1.000001)) (local.set $z (f64.const 0.5)) (local.set $s (f32.const 3))
    (local.set $x (f64.convert_i32_s (i32.trunc_sat_f64_s (local.get $x))))
    (loop $next
      (local.set $b (i64.add (i64.rotl (local.get $a) (i64.const 13)) (local.get $f)))
      (local.set $c (i64.xor (local.get $b) (i64.shr_u (local.get $a) (i64.const 7))))
      (local.set $d (i64.mul (local.get $c) (i64.const 0x9e3779b97f4a7c15)))
      (local.set $e (i64.div_u (local.get $d) (i64.or (local.get $b) (i64.const 1))))
      (local.set $f (i64.add (local.get $e) (i64.clz (local.get $c))))
      (local.set $a (i64.sub (local.get $d) (local.get $e)))
      (local.set $y (f64.add (f64.mul (local.get $y) (f64.const 1.0000001)) (local.get $z)))
      (local.set $z (f64.div (local.get $y) (f64.add (local.get $y) (f64.const 2))))
      (local.set $x (f64.sqrt (f64.add (f64.abs (local.get $x)) (local.get $z))))
      (local.set $s (f32.add (f32.mul (local.get $s) (f32.const 0.9)) (f32.demote_f64 (local.get $x))))
      (local.set $w (i32x4.add (i32x4.mul (local.get $v) (i32x4.splat (i32.wrap_i64 (local.get $a)))) (local.get $w)))
      (local.set $v (i8x16.swizzle (v128.xor (local.get $v) (local.get $w)) (v128.and (local.get $w) (v128.const i32x4 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f))))
      (local.set $n (i32.add (local.get $n) (i64.lt_u (local.get $a) (local.get $b))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (global.set $state (i64.add (global.get $state) (local.get $f)))
    (i64.xor (local.get $a) (i64.reinterpret_f64 (f64.promote_f32 (local.get $s))))
    (f64.add (local.get $x) (local.get $y))
    (v128.xor (local.get $v) (local.get $w))
    (local.get $n))

  ;; Bulk operations of every length up to the memory's own, which are host code to the preempting signal.
  (func (export "bulk") (param $seed i32) (param $times i32) (result i32) (local $bytes i32) (local $half i32) (local $sum i32)
    (local.set $times (i32.or (i32.and (local.get $times) (i32.const 0x3f)) (i32.const 1)))
    (local.set $half (i32.mul (memory.size) (i32.const 32768)))
    (loop $next
      (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $bytes (i32.rem_u (local.get $seed) (local.get $half)))
      (memory.fill (local.get $bytes) (local.get $seed) (i32.shr_u (local.get $bytes) (i32.const 3)))
      (i32.store (local.get $bytes) (local.get $seed))
      (memory.copy (i32.shr_u (local.get $bytes) (i32.const 1)) (local.get $half) (local.get $bytes))
      (memory.copy (local.get $half) (i32.shr_u (local.get $bytes) (i32.const 2)) (local.get $bytes))
      (local.set $sum (i32.add (i32.rotl (local.get $sum) (i32.const 1)) (i32.load (i32.sub (local.get $half) (i32.const 4)))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))

  ;; Reads and writes of memory that depend on each other.
  (func (export "stir") (param $seed i64) (param $times i32) (result i64) (local $at i32) (local $mask i32)
    (local.set $times (i32.or (i32.and (local.get $times) (i32.const 0x1ffff)) (i32.const 1)))
    (local.set $mask (i32.const 0x1fff8))
    (loop $next
      (local.set $at (i32.and (i32.wrap_i64 (local.get $seed)) (local.get $mask)))
      (i64.store (local.get $at) (i64.add (i64.rotl (i64.load (local.get $at)) (i64.const 5)) (local.get $seed)))
      (local.set $seed
        (i64.add (i64.mul (local.get $seed) (i64.const 6364136223846793005)) (i64.load (i32.xor (local.get $at) (i32.const 0x1000)))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $seed))

  ;; Deep frames, then back through all of them.
  (func $fibonacci (export "recursion") (param $n i32) (result i64)
    (local.set $n (i32.and (local.get $n) (i32.const 15)))
    (if (result i64) (i32.lt_u (local.get $n) (i32.const 2))
      (then (i64.extend_i32_u (local.get $n)))
      (else (i64.add (call $fibonacci (i32.sub (local.get $n) (i32.const 1)))
                     (call $fibonacci (i32.sub (local.get $n) (i32.const 2)))))))
  (func (export "overflow") (param i64) (result i64) (call $deeper (local.get 0)))
  (func $deeper (param i64) (result i64) (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))

  ;; Ends in a trap after a while.
  (func (export "trap") (param $times i32) (local $n i32)
    (local.set $times (i32.or (i32.and (local.get $times) (i32.const 0xffff)) (i32.const 1)))
    (loop $next
      (i32.store (i32.shl (i32.add (local.get $n) (i32.const 57000)) (i32.const 2)) (local.get $n))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))

  (func (export "grow") (param i32) (result i32) (memory.grow (i32.and (local.get 0) (i32.const 7)))))
