//! Calls of a store that are suspended in one instance: what one is in the middle of, another must not find or change. A store may
//! refuse to have two calls in progress; those that it takes end as if each were alone.

mod support;

use dormouse::compile::{CompileOptions, compile};
use dormouse::{Engine, InstanceId, Limits, Module, Progress, Store, StoreImports};
use support::engine;

fn linkable(engine: &Engine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).unwrap();
    let options = CompileOptions {
        linkable: true,
        ..CompileOptions::default()
    };
    Module::from_artifact(engine, &compile(&wasm, &options).unwrap()).unwrap()
}

/// A store with a library, and two programs that export its function `work`.
fn two_users(library: &str) -> (Store, [InstanceId; 2]) {
    let engine = engine();
    let mut store = Store::new(&engine).unwrap();
    let mut imports = StoreImports::new();
    let mut add = |imports: &StoreImports, wat: &str| {
        let module = linkable(&engine, wat);
        let added = store.instantiate(&module, imports, Limits::default(), Box::new(()));
        added.unwrap()
    };
    let library = add(&imports, library);
    const USER: &str = r#"(module
        (import "library" "work" (func $work (param i64 i32) (result i64)))
        (func (export "run") (param i64 i32) (result i64) (call $work (local.get 0) (local.get 1))))"#;
    imports.define_instance("library", &store, library);
    let mut add = |wat: &str| {
        let module = linkable(&engine, wat);
        let added = store.instantiate(&module, &imports, Limits::default(), Box::new(()));
        added.unwrap()
    };
    let users = [add(USER), add(USER)];
    (store, users)
}

/// Runs a call in each instance, by turns if the store takes both; they answer one word each.
fn by_turns(store: &mut Store, calls: [(InstanceId, [u64; 2]); 2]) -> [u64; 2] {
    let mut answers = [None; 2];
    let mut begun = [false; 2];
    while answers.contains(&None) {
        for (index, (id, arguments)) in calls.iter().enumerate() {
            if answers[index].is_some() {
                continue;
            }
            if !begun[index] {
                let run = store.function(*id, "run").unwrap();
                begun[index] = store.begin(*id, run, arguments).is_ok();
                assert!(begun.contains(&true), "one call can be in progress");
                continue;
            }
            match store.resume(*id) {
                Progress::Returned(words) => answers[index] = Some(words[0]),
                Progress::Preempted => {}
                other => panic!("{other:?}"),
            }
        }
    }
    answers.map(|answer| answer.expect("both have ended"))
}

#[test]
fn objects_of_calls_that_take_turns_do_not_overlap() {
    // Makes a list of so many nodes with a number, and adds the numbers up.
    let (mut store, [first, second]) = two_users(
        r#"(module
            (type $node (struct (field i64) (field (ref null $node))))
            (func (export "work") (param $number i64) (param $count i32) (result i64)
                (local $list (ref null $node)) (local $sum i64)
                (loop $more
                    (local.set $list (struct.new $node (local.get $number) (local.get $list)))
                    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                    (br_if $more (local.get $count)))
                (loop $more
                    (local.set $sum (i64.add (local.get $sum) (struct.get $node 0 (local.get $list))))
                    (local.set $list (struct.get $node 1 (local.get $list)))
                    (br_if $more (i32.eqz (ref.is_null (local.get $list)))))
                (local.get $sum)))"#,
    );
    const COUNT: u64 = 1_000_000;
    let calls = [(first, [3, COUNT]), (second, [5, COUNT])];
    assert_eq!(by_turns(&mut store, calls), [3 * COUNT, 5 * COUNT]);
}

#[test]
fn an_array_that_is_being_copied_is_kept_while_another_call_collects() {
    // With a number: copies an array that nothing refers to but the instruction, so often, and counts the elements that did not
    // come over, of some. Without: makes garbage for as long.
    let (mut store, [first, second]) = two_users(
        r#"(module
            (type $bytes (array (mut i8)))
            (func (export "work") (param $number i64) (param $count i32) (result i64)
                (local $to (ref null $bytes)) (local $wrong i64) (local $at i32)
                (loop $more
                    (if (i64.eqz (local.get $number))
                        (then (drop (array.new $bytes (i32.const 9) (i32.const 0x300000))))
                        (else
                            (local.set $to (array.new_default $bytes (i32.const 0x800000)))
                            (array.copy $bytes $bytes (local.get $to) (i32.const 0)
                                (array.new $bytes (i32.wrap_i64 (local.get $number)) (i32.const 0x800000))
                                (i32.const 0) (i32.const 0x800000))
                            (local.set $at (i32.const 0))
                            (loop $next
                                (local.set $wrong (i64.add (local.get $wrong) (i64.extend_i32_u (i32.ne
                                    (array.get_u $bytes (local.get $to) (local.get $at)) (i32.wrap_i64 (local.get $number))))))
                                (br_if $next (i32.lt_u (i32.const 0)
                                    (local.tee $at (i32.and (i32.const 0x7fffff) (i32.add (local.get $at) (i32.const 0x10000)))))))))
                    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                    (br_if $more (local.get $count)))
                (local.get $wrong)))"#,
    );
    let calls = [(first, [7, 20]), (second, [0, 100])];
    assert_eq!(by_turns(&mut store, calls), [0, 0]);
}

#[test]
fn exceptions_of_calls_that_take_turns_keep_their_values() {
    // Throws a number so often, under one of two tags, and counts how often another was caught.
    let (mut store, [first, second]) = two_users(
        r#"(module
            (tag $odd (param i64)) (tag $even (param i64))
            (func $throw (param $number i64)
                (if (i32.wrap_i64 (i64.and (local.get $number) (i64.const 1)))
                    (then (throw $odd (local.get $number))))
                (throw $even (local.get $number)))
            (func (export "work") (param $number i64) (param $count i32) (result i64)
                (local $others i64)
                (loop $more
                    (local.set $others (i64.add (local.get $others) (i64.extend_i32_u (i64.ne (local.get $number)
                        (block $caught (result i64)
                            (try_table (catch $odd $caught) (catch $even $caught) (call $throw (local.get $number)))
                            (i64.const -1))))))
                    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
                    (br_if $more (local.get $count)))
                (local.get $others)))"#,
    );
    const COUNT: u64 = 300_000;
    let calls = [(first, [3, COUNT]), (second, [4, COUNT])];
    assert_eq!(by_turns(&mut store, calls), [0, 0]);
}
