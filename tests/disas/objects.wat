;; A field is a load at a constant distance from the heap, a second field of the same object repeats neither null check nor address.
;; An element is one comparison with the array's length; its offset is computed in 32 bits, so that it cannot leave the heap.
;; A cast compares the object's kind with a range. A struct is made where the current run of the heap has room.
(module
  (type $point (sub (struct (field i32) (field (mut f64)))))
  (type $point3 (sub $point (struct (field i32) (field (mut f64)) (field i8))))
  (type $bytes (array (mut i8)))
  (func (param (ref null $point)) (result i32)
    (struct.get $point 0 (local.get 0)))
  (func (param (ref $point) f64) (result i32)
    (struct.set $point 1 (local.get 0) (local.get 1))
    (struct.get $point 0 (local.get 0)))
  (func (param (ref $bytes) i32) (result i32)
    (array.get_u $bytes (local.get 0) (local.get 1)))
  (func (param anyref) (result (ref $point))
    (ref.cast (ref $point) (local.get 0)))
  (func (param (ref null $point)) (result i32)
    (ref.test (ref $point3) (local.get 0)))
  (func (param i32 f64) (result (ref $point))
    (struct.new $point (local.get 0) (local.get 1)))
)
