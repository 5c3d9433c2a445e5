//! Objects as the host makes and copies them: structs and arrays of constant expressions, and the built-ins for arrays.
//!
//! Compiled code says which array it means, and how long its elements are; an array that does not lie in the heap as a whole is
//! a defect of ours, and ends the guest. Bounds are checked before anything is touched.

use super::builtins::{PART_BYTES, check, in_parts};
use super::collector::{Saved, saving_registers};
use super::fiber::{contain, inner_of, yield_if_preempted};
use super::heap;
use super::instance::Inner;
use super::trap::{Reason, TrapKind};
use crate::compile::info::{ModuleInfo, StorageType, struct_layout};
use crate::layout::{ARRAY_ELEMENTS_OFFSET, ARRAY_LENGTH_OFFSET, FIRST_OBJECT, object_header};

impl Inner {
    /// Gives an array that was just made its length.
    fn set_array_length(&mut self, array: u64, length: u64) -> u64 {
        self.heap().write(array + ARRAY_LENGTH_OFFSET, length);
        array
    }

    /// The address of a range of elements.
    ///
    /// # Errors
    /// The trap of a range that is not within the array.
    ///
    /// # Panics
    /// When there is no such array.
    fn elements(
        &self,
        array: u64,
        logarithm: u32,
        index: u64,
        count: u64,
    ) -> Result<*mut u8, Reason> {
        let room = self.heap_length().checked_sub(array);
        assert!(
            array >= FIRST_OBJECT
                && array.is_multiple_of(8)
                && room.is_some_and(|room| room >= ARRAY_ELEMENTS_OFFSET),
            "a reference to an array"
        );
        // SAFETY: so much of the heap is accessible behind the reference.
        let length: u64 = unsafe {
            let at = self.object(array).byte_add(ARRAY_LENGTH_OFFSET as usize);
            at.cast::<u32>().read().into()
        };
        let bytes = ARRAY_ELEMENTS_OFFSET + (length << logarithm);
        assert!(room.is_some_and(|room| room >= bytes), "a whole array");
        let first = check(index, count, length, TrapKind::ArrayOutOfBounds)? << logarithm;
        let elements = ARRAY_ELEMENTS_OFFSET as usize + first;
        Ok(self.object(array).cast::<u8>().wrapping_add(elements))
    }

    /// Stores a value at an offset of an object that was just made, and has it there.
    fn store_value(&mut self, object: u64, offset: u64, storage: StorageType, value: [u64; 2]) {
        let bytes = value.map(u64::to_le_bytes).concat();
        let end = object + offset + u64::from(storage.bytes());
        assert!(object >= FIRST_OBJECT && end <= self.heap_length());
        // SAFETY: checked: all of it lies within the heap's length.
        unsafe {
            let at = self.object(object).cast::<u8>().add(offset as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, storage.bytes() as usize);
        }
    }

    /// Makes a struct with these values, or zeros if there are none.
    pub fn new_struct(
        &mut self,
        info: &ModuleInfo,
        ty: u32,
        values: &[[u64; 2]],
    ) -> Result<u64, Reason> {
        let fields = info.struct_fields(ty);
        let (offsets, bytes) = struct_layout(fields);
        let header = object_header(self.object_kind(info, ty), bytes);
        let object = self.allocate_object(header)?;
        for ((field, offset), value) in fields.iter().zip(offsets).zip(values) {
            self.store_value(object, offset.into(), field.storage, *value);
        }
        Ok(object)
    }

    /// Makes an array of this length with these values, zeros beyond them.
    pub fn new_array(
        &mut self,
        info: &ModuleInfo,
        ty: u32,
        length: u64,
        values: impl Iterator<Item = [u64; 2]>,
    ) -> Result<u64, Reason> {
        let storage = info.array_storage(ty);
        let logarithm = storage.bytes().trailing_zeros();
        let kind = self.object_kind(info, ty);
        let array = self.allocate_object(array_header(kind, logarithm, length)?)?;
        self.set_array_length(array, length);
        for (index, value) in (0..length).zip(values) {
            let offset = ARRAY_ELEMENTS_OFFSET + (index << logarithm);
            self.store_value(array, offset, storage, value);
        }
        Ok(array)
    }

    /// Checks a range of a data segment, and answers where its bytes are: in the artifact.
    fn data_range(&mut self, segment: u32, start: u64, bytes: u64) -> Result<*const u8, Reason> {
        let data = self.data_segment(segment as usize);
        let start = check(start, bytes, data.len() as u64, TrapKind::MemoryOutOfBounds)?;
        Ok(data[start..].as_ptr())
    }

    /// Stores elements of a segment, whose range is checked.
    ///
    /// # Safety
    /// So many elements of an array, each a word, lie at `to`.
    unsafe fn store_elements(
        &mut self,
        to: *mut u64,
        segment: u32,
        source: u64,
        count: u64,
    ) -> Result<(), Reason> {
        let module = self.linked.module().clone();
        for offset in 0..count as usize {
            let element = self.element(&module, segment as usize, source as usize + offset)?;
            // SAFETY: the caller's promise.
            unsafe { to.add(offset).write(element) };
        }
        Ok(())
    }

    fn element_range(&self, segment: u32, source: u64, count: u64) -> Result<(), Reason> {
        let length = self.element_count(segment as usize);
        check(source, count, length, TrapKind::TableOutOfBounds).map(|_| ())
    }
}

/// The header of an array.
///
/// # Errors
/// The trap of an array that is larger than any heap.
fn array_header(kind: u32, logarithm: u32, length: u64) -> Result<u64, Reason> {
    let bytes = ARRAY_ELEMENTS_OFFSET + (length << logarithm).next_multiple_of(8);
    match u32::try_from(bytes) {
        Ok(bytes) => Ok(object_header(kind, bytes)),
        Err(_) => Err(Reason::Trap(TrapKind::AllocationTooLarge)),
    }
}

/// Makes an array of zeros.
///
/// # Safety
/// As for [`heap::allocate`].
unsafe fn allocate_array(
    inner: *mut Inner,
    kind: u32,
    logarithm: u32,
    length: u64,
    saved: Saved,
) -> Result<u64, Reason> {
    let header = array_header(kind, logarithm, length)?;
    // SAFETY: the caller's promise.
    unsafe {
        let array = heap::allocate(inner, header, saved)?;
        Ok((*inner).set_array_length(array, length))
    }
}

/// Has a reference on the stack, or in a register that callees preserve, up to here, where a collection of another call finds it while
/// this one is suspended: of addresses of elements the compiler may have kept one at the array's end alone.
fn keep(reference: u64) {
    std::hint::black_box(reference);
}

/// Two numbers of 32 bits in one word, the lower first.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

saving_registers!(allocate, allocate_saved);
saving_registers!(new_data, new_data_saved);
saving_registers!(new_elements, new_elements_saved);

/// See [`Builtin::ArrayAllocate`](crate::layout::Builtin::ArrayAllocate).
unsafe extern "C" fn allocate_saved(
    vmctx: *mut u8,
    kind: u64,
    length: u64,
    _: u64,
    _: u64,
    saved: Saved,
) -> u64 {
    // SAFETY: called by a stub of compiled code with its vmctx (the argument of every built-in here), so the instance is live, this
    // is its fiber, and its owner waits in `resume`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let (kind, logarithm) = halves(kind);
            allocate_array(inner, kind, logarithm, length, saved)
        })
    }
}

/// See [`Builtin::ArrayReplicate`](crate::layout::Builtin::ArrayReplicate).
pub unsafe extern "C" fn replicate(
    vmctx: *mut u8,
    array: u64,
    index: u64,
    count: u64,
    logarithm: u64,
) -> u64 {
    // SAFETY: see `allocate`; the range lies within the array, and what is copied is what comes before it. Objects do not move, and
    // this one is not freed by a collection of another call meanwhile, since the reference to it is used once more (see `keep`).
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let first = (*inner).elements(array, logarithm as u32, index, count)?;
            let (element, bytes) = (1usize << logarithm, (count as usize) << logarithm);
            let mut done = element;
            while done < bytes {
                let part = done.min(bytes - done).min(PART_BYTES);
                std::ptr::copy_nonoverlapping(first, first.add(done), part);
                done += part;
                if part == PART_BYTES {
                    yield_if_preempted(inner);
                }
            }
            keep(array);
            Ok(0)
        })
    }
}

/// See [`Builtin::ArrayCopy`](crate::layout::Builtin::ArrayCopy).
pub unsafe extern "C" fn copy(
    vmctx: *mut u8,
    destination: u64,
    destination_index: u64,
    source: u64,
    source_index: u64,
    count: u64,
) -> u64 {
    // SAFETY: see `allocate`; both ranges lie within their arrays, `copy` allows them to overlap, and parts are taken from the end
    // that is not overwritten. Objects do not move, and these are kept meanwhile as in `replicate`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let (count, logarithm) = halves(count);
            let to = (*inner).elements(destination, logarithm, destination_index, count.into())?;
            let from = (*inner).elements(source, logarithm, source_index, count.into())?;
            let bytes = (count as usize) << logarithm;
            in_parts(inner, bytes, to.cast_const() > from, |at, part| {
                std::ptr::copy(from.add(at), to.add(at), part);
            });
            keep(destination);
            keep(source);
            Ok(0)
        })
    }
}

/// See [`Builtin::ArrayNewData`](crate::layout::Builtin::ArrayNewData).
unsafe extern "C" fn new_data_saved(
    vmctx: *mut u8,
    kind: u64,
    segment: u64,
    source: u64,
    length: u64,
    saved: Saved,
) -> u64 {
    // SAFETY: see `allocate`; both ranges are checked, and an artifact is no part of a heap.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let (kind, logarithm) = halves(kind);
            let bytes = length << logarithm;
            let data = (*inner).data_range(segment as u32, source, bytes)?;
            let array = allocate_array(inner, kind, logarithm, length, saved)?;
            let elements = (*inner).elements(array, logarithm, 0, length)?;
            std::ptr::copy_nonoverlapping(data, elements, bytes as usize);
            Ok(array)
        })
    }
}

/// See [`Builtin::ArrayNewElements`](crate::layout::Builtin::ArrayNewElements).
unsafe extern "C" fn new_elements_saved(
    vmctx: *mut u8,
    kind: u64,
    segment: u64,
    source: u64,
    length: u64,
    saved: Saved,
) -> u64 {
    // SAFETY: see `allocate`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let segment = segment as u32;
            (*inner).element_range(segment, source, length)?;
            let array = allocate_array(inner, kind as u32, 3, length, saved)?;
            let elements = (*inner).elements(array, 3, 0, length)?;
            (*inner).store_elements(elements.cast(), segment, source, length)?;
            Ok(array)
        })
    }
}

/// See [`Builtin::ArrayInitData`](crate::layout::Builtin::ArrayInitData).
pub unsafe extern "C" fn init_data(
    vmctx: *mut u8,
    array: u64,
    index: u64,
    segment: u64,
    source: u64,
    count: u64,
) -> u64 {
    // SAFETY: as in `new_data`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let (segment, logarithm) = halves(segment);
            let elements = (*inner).elements(array, logarithm, index, count)?;
            let bytes = count << logarithm;
            let data = (*inner).data_range(segment, source, bytes)?;
            std::ptr::copy_nonoverlapping(data, elements, bytes as usize);
            Ok(0)
        })
    }
}

/// See [`Builtin::ArrayInitElements`](crate::layout::Builtin::ArrayInitElements).
pub unsafe extern "C" fn init_elements(
    vmctx: *mut u8,
    array: u64,
    index: u64,
    segment: u64,
    source: u64,
    count: u64,
) -> u64 {
    // SAFETY: see `allocate`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let elements = (*inner).elements(array, 3, index, count)?;
            (*inner).element_range(segment as u32, source, count)?;
            (*inner).store_elements(elements.cast(), segment as u32, source, count)?;
            Ok(0)
        })
    }
}
