;; counter: counts its calls in every kind of state a module has, and answers with the highest count.
;;
;; In a fresh instance each count is 1, so the answer is "1". Whatever a host forgets to put back shows: as a count
;; above 1, or as a trap where the second use of something is an error. `?each` answers with a line per kind.
(module $counter
  (import "dormouse" "write_call_output" (func $write_call_output (param i32 i32)))
  (import "dormouse" "call_header" (func $call_header (param i32 i32 i32 i32) (result i32)))

  ;; 0       the data section below      1024   where lines are composed
  ;; 65536   a page that no data segment touches: not in the image
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0))
  (type $number (func (result i32)))
  (table $numbers 1 16 funcref)
  (elem (table $numbers) (i32.const 0) func $first_time)
  (elem declare func $again)

  (data (i32.const 0) "global memory zero-page grown-memory table-entry grown-table passive-data :query")
  (data (i32.const 128) "\e8\03\00\00")  ;; the count in initialised memory starts at 1000
  (data $passive "\01\00\00\00")

  (func $first_time (result i32) i32.const 1)
  (func $again (result i32) i32.const 2)

  (func $count_global (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.get $count))

  (func $count_memory (result i32)
    (i32.store (i32.const 128) (i32.add (i32.load (i32.const 128)) (i32.const 1)))
    (i32.sub (i32.load (i32.const 128)) (i32.const 1000)))

  (func $count_zero_page (result i32)
    (i32.store (i32.const 131000) (i32.add (i32.load (i32.const 131000)) (i32.const 1)))
    (i32.load (i32.const 131000)))

  ;; Grows by a page and counts in it: the length of memory must be as at the start, and a page that was given back
  ;; must come again zeroed. Where growing is refused by a limit, there is nothing to count.
  (func $count_grown_memory (result i32)
    (local $page i32)
    (local $address i32)
    (local.set $page (memory.grow (i32.const 1)))
    (if (i32.eq (local.get $page) (i32.const -1)) (then (return (i32.const 0))))
    (local.set $address (i32.shl (local.get $page) (i32.const 16)))
    (i32.store (local.get $address) (i32.add (i32.load (local.get $address)) (i32.const 1)))
    (i32.add (i32.load (local.get $address)) (i32.sub (local.get $page) (i32.const 2))))

  (func $count_table_entry (result i32)
    (local $was i32)
    (local.set $was (call_indirect $numbers (type $number) (i32.const 0)))
    (table.set $numbers (i32.const 0) (ref.func $again))
    (local.get $was))

  (func $count_grown_table (result i32)
    (drop (table.grow $numbers (ref.null func) (i32.const 1)))
    (i32.sub (table.size $numbers) (i32.const 1)))

  ;; A dropped segment has length 0: a second copy from it traps.
  (func $count_passive_data (result i32)
    (memory.init $passive (i32.const 256) (i32.const 0) (i32.const 4))
    (data.drop $passive)
    (i32.load (i32.const 256)))

  ;; Writes a number and a newline at $at; returns the address after them.
  (func $put_number (param $at i32) (param $number i32) (result i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (local.set $at
        (i32.sub
          (call $put_number (local.get $at) (i32.div_u (local.get $number) (i32.const 10)))
          (i32.const 1)))))
    (i32.store8 (local.get $at)
      (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
    (i32.store8 offset=1 (local.get $at) (i32.const 10))
    (i32.add (local.get $at) (i32.const 2)))

  ;; Answers with the line "name count" if $each is set. Returns the higher count.
  (func $report (param $highest i32) (param $each i32) (param $name i32) (param $name_bytes i32) (param $number i32)
    (result i32)
    (local $end i32)
    (if (local.get $each)
      (then
        (memory.copy (i32.const 1024) (local.get $name) (local.get $name_bytes))
        (local.set $end
          (call $put_number (i32.add (i32.const 1024) (local.get $name_bytes)) (local.get $number)))
        (call $write_call_output (i32.const 1024) (i32.sub (local.get $end) (i32.const 1024)))))
    (select (local.get $highest) (local.get $number) (i32.gt_u (local.get $highest) (local.get $number))))

  (func $handle (export "handle") (result i32)
    (local $highest i32)
    (local $each i32)
    ;; Any query at all asks for the lines.
    (local.set $each
      (i32.gt_s (call $call_header (i32.const 74) (i32.const 6) (i32.const 0) (i32.const 0)) (i32.const 0)))
    (local.set $highest (call $report (i32.const 0) (local.get $each) (i32.const 0) (i32.const 7) (call $count_global)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 7) (i32.const 7) (call $count_memory)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 14) (i32.const 10) (call $count_zero_page)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 24) (i32.const 13) (call $count_grown_memory)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 37) (i32.const 12) (call $count_table_entry)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 49) (i32.const 12) (call $count_grown_table)))
    (local.set $highest (call $report (local.get $highest) (local.get $each) (i32.const 61) (i32.const 13) (call $count_passive_data)))
    (if (i32.eqz (local.get $each))
      (then
        (call $write_call_output (i32.const 1024)
          (i32.sub (call $put_number (i32.const 1024) (local.get $highest)) (i32.const 1024)))))
    i32.const 0))
