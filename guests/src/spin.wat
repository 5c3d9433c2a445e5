;; spin: never answers. The loop makes no call and touches no memory, so only preemption from outside can stop it.
(module $spin
  (memory (export "memory") 1)
  (func $handle (export "handle") (result i32)
    (loop $forever
      br $forever)
    unreachable))
