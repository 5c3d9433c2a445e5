//! Which descriptions fit which modules.

use super::*;
use crate::compile::info::{Limits, MemoryType};
use crate::layout::{InstanceLayout, MemoryRequest, ObjectRequest};

const PAGE: u64 = 65536;

/// A module with two memories, of one and two pages at least.
fn info() -> ModuleInfo {
    let request = |pages: u64| MemoryRequest {
        minimum_bytes: pages * PAGE,
        maximum_bytes: 10 * PAGE,
    };
    let memory = |minimum| MemoryType {
        limits: Limits {
            minimum,
            maximum: Some(10),
        },
        index64: false,
        page_bytes_log2: 16,
        shared: false,
    };
    ModuleInfo {
        memories: vec![memory(1), memory(2)],
        layout: InstanceLayout::new(
            [8],
            [],
            0,
            0,
            &[request(1), request(2)],
            ObjectRequest::default(),
            None,
        )
        .unwrap(),
        ..ModuleInfo::default()
    }
}

/// Whether an image is used that says this of the memories, its state of the second one's length, and has so many pages.
fn fits(memories: &[(u64, u64)], noted: u64, pages: usize) -> bool {
    let info = info();
    let mut contents = vec![0; pages * PAGE_BYTES];
    let at = PAGE_BYTES
        + info
            .layout
            .from_start(info.layout.memories[1].length_offset);
    contents[at..at + 8].copy_from_slice(&noted.to_le_bytes());
    let description = Description {
        artifact: [0; 32],
        contents_bytes: contents.len() as u64,
        pages: 0,
        layer: None,
        memories: memories
            .iter()
            .map(|(bytes, kept_bytes)| FrozenMemory {
                bytes: *bytes,
                kept_bytes: *kept_bytes,
            })
            .collect(),
    };
    parts(&info, &description, &contents).is_some()
}

#[test]
fn images_that_do_not_fit_the_module_are_refused() {
    let (one, two, page) = (PAGE, 2 * PAGE, PAGE_BYTES as u64);
    assert!(fits(&[(one, 0), (two, 0)], two, 2));
    assert!(fits(&[(one, page), (two, two)], two, 2 + 1 + 32));
    // Another length than the guest would be held to.
    assert!(!fits(&[(one, 0), (two, 0)], two + 1, 2));
    assert!(!fits(&[(one, 0), (3 * PAGE, 0)], two, 2));
    // Below the minimum, beyond the room, no whole number of pages.
    assert!(!fits(&[(0, 0), (two, 0)], two, 2));
    assert!(!fits(&[(one, 0), (one, 0)], one, 2));
    assert!(!fits(&[(one, 0), (11 * PAGE, 0)], 11 * PAGE, 2));
    assert!(!fits(&[(one, 0), (u64::MAX, 0)], u64::MAX, 2));
    assert!(!fits(&[(one, 0), (two + page, 0)], two + page, 2));
    // More contents than memory, or than the file has, or fewer.
    assert!(!fits(&[(one, one + page), (two, 0)], two, 2 + 17));
    assert!(!fits(&[(one, page), (two, 0)], two, 2));
    assert!(!fits(&[(one, 0), (two, 0)], two, 3));
    assert!(!fits(&[(one, 0), (two, page - 1)], two, 3));
    // Another number of memories.
    assert!(!fits(&[(one, 0)], two, 2));
    assert!(!fits(&[(one, 0), (two, 0), (one, 0)], two, 2));
    assert!(!fits(&[], two, 2));
}
