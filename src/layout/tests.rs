//! That parts of an instance do not overlap, and lie where the guards reach.

use super::*;

const NONE: ObjectRequest = ObjectRequest {
    heap: false,
    exception_bytes: None,
    elements: Vec::new(),
};

#[test]
fn parts_do_not_overlap_and_memory_is_page_aligned() {
    let layout = InstanceLayout::new([8, 16, 8], [3, 0, 1000], 5, 7, &[], NONE, None).unwrap();
    assert_eq!(layout.globals, [-80, -96, -104]);
    assert_eq!(layout.data_flags, -109);
    assert_eq!(layout.element_flags, -116);
    assert_eq!(layout.tables[0].length_offset, -128);
    assert_eq!(layout.tables[0].entries_offset, -128 - 24);
    assert_eq!(layout.tables[1].length_offset, -152 - 8);
    assert_eq!(layout.tables[2].entries_offset, -160 - 8 - 8000);
    assert_eq!(layout.state_bytes, 8192);
    assert_eq!(layout.padding_bytes, 8192 - 8168);
    assert_eq!(layout.from_start(layout.tables[2].entries_offset), 24);
    assert_eq!(layout.from_start(layout.globals[0]), 8192 - 80);
}

/// Offset, length and alignment of all that lies in the state.
fn items(layout: &InstanceLayout, request: &Requests) -> Vec<(i64, u64, u64)> {
    let word = |offset: i32| (i64::from(offset), 8, 8);
    let mut items = vec![(-(header::BYTES as i64), header::BYTES as u64, 8)];
    for (offset, bytes) in layout.globals.iter().zip(&request.globals) {
        items.push(((*offset).into(), (*bytes).into(), (*bytes).into()));
    }
    for (table, capacity) in layout.tables.iter().zip(&request.tables) {
        items.push(word(table.length_offset));
        items.push((table.entries_offset.into(), u64::from(*capacity) * 8, 8));
    }
    items.push((layout.data_flags.into(), request.data.into(), 1));
    items.push((layout.element_flags.into(), request.elements.into(), 1));
    let further = layout.memories.iter().skip(1);
    items.extend(further.map(|memory| word(memory.length_offset)));
    if let Some(heap) = layout.heap {
        let words = [heap.memory.length_offset, heap.next_offset];
        items.extend(words.map(word));
        items.extend([heap.limit_offset, heap.free_offset].map(word));
    }
    if let (Some(at), Some(bytes)) = (layout.exception, request.objects.exception_bytes) {
        items.push((at.into(), 8 + u64::from(bytes), 8));
    }
    for (place, count) in layout.elements.iter().zip(&request.objects.elements) {
        if let (Some(at), Some(count)) = (place, count) {
            items.push(((*at).into(), u64::from(*count) * 8, 8));
        }
    }
    if let (Some(links), Some(count)) = (layout.links, request.links) {
        for (at, words) in [
            (links.memories, 2 * count.imported_memories),
            (links.tables, 2 * count.imported_tables),
            (links.globals, count.imported_globals),
            (links.functions, 2 * count.imported_functions),
            (links.types, count.types),
            (links.references, count.functions),
            (links.tags, count.tags),
            (links.store, 1),
        ] {
            assert!(links.memories <= at && at + words as i32 * 8 <= links.end);
            items.push((at.into(), u64::from(words) * 8, 8));
        }
    }
    items
}

/// What a layout is asked for.
struct Requests {
    globals: Vec<u32>,
    tables: Vec<u32>,
    data: u32,
    elements: u32,
    memories: Vec<MemoryRequest>,
    objects: ObjectRequest,
    links: Option<LinkRequest>,
}

#[test]
fn whatever_is_asked_for_lies_apart_below_the_vmctx() {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut below = |bound: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as u32 % bound
    };
    let mut laid_out = 0;
    for round in 0..5_000 {
        let entries = if round % 50 == 0 { 1 << 21 } else { 700 };
        let elements = below(9);
        let request = Requests {
            globals: (0..below(12)).map(|_| 8 << below(2)).collect(),
            tables: (0..below(5)).map(|_| below(entries) * below(2)).collect(),
            data: below(9),
            elements,
            memories: (0..below(4))
                .map(|_| request(u64::from(below(3)) << 16, u64::from(below(100)) << 16))
                .collect(),
            objects: ObjectRequest {
                heap: below(2) == 0,
                exception_bytes: (below(2) == 0).then(|| below(20) * 8),
                elements: (0..elements)
                    .map(|_| (below(2) == 0).then(|| below(20)))
                    .collect(),
            },
            links: (below(2) == 0).then(|| LinkRequest {
                imported_memories: below(3),
                imported_tables: below(3),
                imported_globals: below(3),
                imported_functions: below(9),
                types: below(9),
                functions: below(600),
                tags: below(3),
            }),
        };
        let layout = InstanceLayout::new(
            request.globals.iter().copied(),
            request.tables.iter().copied(),
            request.data,
            elements,
            &request.memories,
            request.objects.clone(),
            request.links,
        );
        let Ok(layout) = layout else { continue };
        laid_out += 1;
        let mut items = items(&layout, &request);
        let start = -i64::from(layout.state_bytes);
        assert!((layout.state_bytes as usize).is_multiple_of(PAGE_BYTES));
        assert!((layout.padding_bytes as usize) < PAGE_BYTES);
        items.sort_unstable();
        assert_eq!(items[0].0, start + i64::from(layout.padding_bytes));
        let mut end = start;
        for (at, bytes, align) in items {
            assert!(at >= end && at % align as i64 == 0, "{layout:?}");
            end = at + bytes as i64;
        }
        assert_eq!(end, 0);
    }
    assert!(laid_out > 1000);
}

#[test]
fn state_too_large_is_refused() {
    assert!(InstanceLayout::new([], [u32::MAX], 0, 0, &[], NONE, None).is_err());
    assert!(
        InstanceLayout::new(
            [],
            [((STATE_BYTES_MAX - header::BYTES as u64) / 8) as u32 - 1],
            0,
            0,
            &[],
            NONE,
            None
        )
        .is_ok()
    );
    assert!(
        InstanceLayout::new(
            [],
            [((STATE_BYTES_MAX - header::BYTES as u64) / 8) as u32],
            0,
            0,
            &[],
            NONE,
            None
        )
        .is_err()
    );
}

fn request(minimum_bytes: u64, maximum_bytes: u64) -> MemoryRequest {
    MemoryRequest {
        minimum_bytes,
        maximum_bytes,
    }
}

#[test]
fn memories_share_the_reservation_without_overlap() {
    const ALL: u64 = MEMORY_RESERVED_BYTES;
    let cases: [&[MemoryRequest]; 8] = [
        &[request(0, 0)],
        &[request(ALL, ALL)],
        &[request(0, u64::MAX), request(0, u64::MAX)],
        &[request(65536, 65536), request(0, u64::MAX)],
        &[request(ALL - 65536, u64::MAX), request(65536, 65536)],
        &[request(1, 1), request(4097, 5000), request(0, 0)],
        &[request(3 << 30, u64::MAX), request(1, u64::MAX)],
        &[request(7, u64::MAX); 100],
    ];
    for memories in cases {
        let layout = InstanceLayout::new([8], [10], 1, 1, memories, NONE, None).unwrap();
        assert_eq!(layout.memories.len(), memories.len());
        let mut end = 0;
        for (index, (memory, request)) in layout.memories.iter().zip(memories).enumerate() {
            assert!(memory.start >= end && memory.start.is_multiple_of(PAGE_BYTES as u64));
            assert!(memory.reserved_bytes >= request.minimum_bytes);
            assert_eq!(memory.length_offset == header::MEMORY_LENGTH, index == 0);
            end = memory.start + memory.reserved_bytes;
        }
        assert!(end <= ALL);
        assert_eq!(layout.memories[0].start, 0);
    }
    let uneven = [request(65536, 65536), request(0, u64::MAX)];
    let layout = InstanceLayout::new([], [], 0, 0, &uneven, NONE, None).unwrap();
    assert_eq!(layout.memories[1].reserved_bytes, ALL - 65536);
}

#[test]
fn memories_that_start_too_large_are_refused() {
    for memories in [
        &[request(MEMORY_RESERVED_BYTES + 1, u64::MAX)][..],
        &[request(MEMORY_RESERVED_BYTES, 0), request(1, 1)],
        // In whole pages of the hardware only.
        &[
            request(MEMORY_RESERVED_BYTES - 2, 0),
            request(1, 1),
            request(1, 1),
        ],
        &[request(u64::MAX, u64::MAX), request(u64::MAX, u64::MAX)],
    ] {
        assert!(matches!(
            InstanceLayout::new([], [], 0, 0, memories, NONE, None),
            Err(LayoutError::MemoriesTooLarge { .. })
        ));
    }
}

#[test]
fn the_object_heap_lies_behind_the_guard_and_moves_nothing() {
    let memories = [request(65536, u64::MAX)];
    let plain = InstanceLayout::new([8], [3], 1, 1, &memories, NONE, None).unwrap();
    assert!(!plain.is_wide() && plain.exception.is_none());
    let objects = ObjectRequest {
        heap: true,
        exception_bytes: Some(24),
        elements: Vec::new(),
    };
    let layout = InstanceLayout::new([8], [3], 1, 1, &memories, objects, None).unwrap();
    assert!(layout.is_wide());
    assert_eq!(layout.memories, plain.memories);
    let heap = layout.heap.unwrap();
    let (words, exception) = (heap.memory.length_offset, layout.exception.unwrap());
    assert_eq!(
        (words, heap.next_offset, heap.free_offset),
        (-88, -96, -112)
    );
    assert_eq!((exception, layout.data_flags), (-112 - 32, -145));
    assert!(heap.memory.start.is_multiple_of(PAGE_BYTES as u64));
    let memory = layout.memories[0];
    assert!(memory.start + memory.reserved_bytes + GUARD_BYTES <= heap.memory.start);
    assert_eq!(layout.regions().count(), 2);
}

#[test]
fn builtins_are_listed_in_order() {
    for (index, (builtin, arguments, _)) in Builtin::ALL.iter().enumerate() {
        assert_eq!(*builtin as usize, index);
        assert!(*arguments <= 5);
    }
}
