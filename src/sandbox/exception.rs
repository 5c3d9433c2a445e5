//! Exceptions of guests: finding the handler, and going on there.
//!
//! Every call within a `try_table` has a handler; the artifact knows it by the call's return address. To throw is to follow
//! the frame pointers from the built-in's stub outwards to the first return address that has one, and to go on at the handler with
//! that frame's pointers. The frames further in are forgotten:
//!
//! ```text
//!   (high)  | entry trampoline | ... | frame with the handler | ... frames given up ... | stub | built-in |  (low)
//!                                    ^ stack pointer,
//!                                      frame bytes below the frame pointer
//! ```
//!
//! * All of them are frames of compiled code, which has nothing to drop, and of the built-in, which dropped what it had: a host
//!   function never calls a guest on the same fiber, so that none of its frames lies in between.
//! * A handler finds everything it uses in its frame: for the code generator a call with a handler preserves no register.
//! * The walk stays on the call's stack, and the frame that is gone on with lies outwards of the stub's.
//! * What is handed on is the address of an exception: in the place for one on its way, or an object. Whatever compiled code says is
//!   checked against its tag before it is believed.
//! * Instances of a store throw to each other: frames and handlers are those of any module of the store. The place for an exception
//!   on its way is the call's there and not an instance's, since another call may run, and throw, before it is caught.

use super::collector::{Saved, saving_registers};
use super::fiber::{contain, inner_of};
use super::heap;
use super::instance::Inner;
use super::signals;
use super::trap::{Exception, Reason};
use crate::compile::info::ModuleInfo;
use crate::layout::{EXCEPTION_KIND, FIRST_OBJECT, OBJECT_HEADER_BYTES};
use std::arch::asm;

/// Where an exception is caught.
#[derive(Clone, Copy)]
struct Handler {
    code: usize,
    stack_pointer: usize,
    frame_pointer: usize,
}

impl Inner {
    /// Where an exception on its way is, thrown by code of this instance.
    fn exception_place(&self) -> u64 {
        if self.is_linked() {
            let call = signals::running_instance();
            // SAFETY: a guest's call runs on this thread, being what called the built-in; its instance is alive.
            let links = unsafe { (*call).links.as_ref() };
            return links.expect("it is of the same store").exception_address();
        }
        let place = self.linked.module().info().layout.exception;
        self.at(place.expect("the module has tags")) as u64
    }

    /// The tag of the exception at an address: its index, or in a store what that calls it.
    ///
    /// # Panics
    /// When there is none: a defect of compiled code.
    fn exception_tag(&self, address: u64) -> u32 {
        let room = match address == self.exception_place() {
            true => u64::MAX,
            false => {
                let length = self.heap_length();
                let offset = address.wrapping_sub(self.heap_base() as u64);
                assert!(offset >= FIRST_OBJECT && offset.is_multiple_of(8));
                length.checked_sub(offset).expect("an object of the heap")
            }
        };
        assert!(room >= OBJECT_HEADER_BYTES);
        // SAFETY: the first word of the place for exceptions, or within the heap's length: accessible, aligned, and not written meanwhile.
        let header = unsafe { (address as *const u64).read() };
        let tag = header as u32 & !EXCEPTION_KIND;
        let expected = self.exception_header(tag);
        assert_eq!(Some(header), expected, "an exception's header");
        assert!(header >> 32 <= room, "an exception that is whole");
        tag
    }

    /// The header of exceptions with a tag, if there is one.
    fn exception_header(&self, tag: u32) -> Option<u64> {
        if let Some(links) = &self.links {
            return links.store.with_tag(tag, |tag| tag.header);
        }
        let info = self.linked.module().info();
        ((tag as usize) < info.tags.len()).then(|| info.exception_header(tag))
    }

    /// The words of the values of the exception at an address.
    fn exception_words(&self, address: u64) -> &[u64] {
        let tag = self.exception_tag(address);
        let header = self.exception_header(tag).expect("there is the tag");
        let words = ((header >> 32) - OBJECT_HEADER_BYTES) as usize / 8;
        // SAFETY: `exception_tag` made sure that so much follows the header, in the place that is as long as the longest or within the
        // heap's length; the instance is borrowed, and no guest runs meanwhile.
        unsafe { std::slice::from_raw_parts((address as *const u64).add(1), words) }
    }

    /// The handler that an exception comes to which was thrown by a call of a built-in, given its stub's frame.
    fn handler(&self, stub: usize) -> Option<Handler> {
        let (own, mut other) = (self.linked.module(), None);
        // SAFETY: a guest's call runs on this thread, being what called the built-in; its instance is alive.
        let stack = unsafe { (*signals::running_instance()).frames_range() };
        let mut frame = stub;
        loop {
            assert!(
                stack.contains(&frame) && frame.is_multiple_of(16),
                "a frame on the stack"
            );
            // SAFETY: the two words at `frame` lie on the call's stack, which is mapped.
            let (caller, return_address) = unsafe {
                let words = frame as *const usize;
                (words.read(), words.add(1).read())
            };
            let module = other.as_ref().unwrap_or(own);
            if let Some((code, frame_bytes)) = module.handler_at(return_address) {
                // It may lie below the frame that was called: a callee gives the stack of its arguments back, also to what it
                // calls in its place.
                let stack_pointer = caller.wrapping_sub(frame_bytes);
                assert!(
                    caller > frame && stack.contains(&caller) && stack.contains(&stack_pointer),
                    "a frame on the stack"
                );
                return Some(Handler {
                    code,
                    stack_pointer,
                    frame_pointer: caller,
                });
            }
            if !module.is_code(return_address) {
                // The host called the entry trampoline; or another instance the function, and the frame is looked at once more.
                other = Some(self.linked_module_at(return_address)?);
                continue;
            }
            assert!(caller > frame, "frames follow each other");
            frame = caller;
        }
    }

    fn uncaught(&self, address: u64) -> Exception {
        let tag = self.exception_tag(address);
        let words = self.exception_words(address).to_vec();
        let describe = |info: &ModuleInfo, index: u32| Exception {
            tag,
            name: info.tags[index as usize].name.clone(),
            types: info.tag_values(index).to_vec(),
            words,
        };
        match &self.links {
            None => describe(self.linked.module().info(), tag),
            Some(links) => links
                .store
                .with_tag(tag, |of| describe(of.module.info(), of.index))
                .expect("there is the tag"),
        }
    }
}

/// See [`Builtin::Throw`](crate::layout::Builtin::Throw).
///
/// Its stub's frame pointer, which is in the register still, is where the way to the handler begins. (What the stub noted in the header is
/// another call's if that came through the same instance in between.)
#[unsafe(naked)]
pub unsafe extern "C" fn throw() -> u64 {
    std::arch::naked_asm!("mov rdx, rbp", "jmp {throw}", throw = sym throw_from)
}

unsafe extern "C" fn throw_from(vmctx: *mut u8, exception: u64, stub: usize) -> u64 {
    let mut found = None;
    // SAFETY: called by a stub of compiled code with its vmctx, so the instance is live, this is its fiber, and its owner waits in
    // `resume`. What the closure leaves has nothing to drop.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let tag = (*inner).exception_tag(exception);
            let handler = (*inner).handler(stub);
            let handler =
                handler.ok_or_else(|| Reason::UncaughtException((*inner).uncaught(exception)))?;
            found = Some((handler, tag));
            Ok(0)
        });
    }
    let (handler, tag) = found.expect("otherwise the guest was stopped");
    // SAFETY: the handler is one of the frame whose pointers these are, by the artifact, which is verified; that frame is live, being that
    // of a caller of this function, and nothing on the frames up to it needs dropping (see above).
    unsafe { go_on(handler, exception, tag.into()) }
}

/// Goes on at a handler with the address of an exception and its tag.
///
/// # Safety
/// The handler is code of the function whose frame the pointers are of; no frame further in holds anything that needs dropping.
unsafe fn go_on(handler: Handler, exception: u64, tag: u64) -> ! {
    // SAFETY: the tail convention hands a handler its two values in rax and rdx, and what else it uses is in its frame. A signal
    // in between finds a stack pointer with the handler's frame above it and free stack below.
    unsafe {
        asm!(
            "mov rsp, rcx",
            "mov rbp, rsi",
            "jmp rdi",
            in("rax") exception,
            in("rdx") tag,
            in("rcx") handler.stack_pointer,
            in("rsi") handler.frame_pointer,
            in("rdi") handler.code,
            options(noreturn),
        )
    }
}

saving_registers!(exception_reference, exception_reference_saved);

/// See [`Builtin::ExceptionReference`](crate::layout::Builtin::ExceptionReference).
unsafe extern "C" fn exception_reference_saved(
    vmctx: *mut u8,
    exception: u64,
    _: u64,
    _: u64,
    _: u64,
    saved: Saved,
) -> u64 {
    // SAFETY: as in `throw`. A new object has room for what follows the header of the exception it is made from, which is not in
    // the heap, and so neither overlaps the object nor moves while it is made.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let tag = (*inner).exception_tag(exception);
            let offset = exception.wrapping_sub((*inner).heap_base() as u64);
            if offset < (*inner).heap_length() {
                return Ok(offset);
            }
            let header = (*inner).exception_header(tag);
            let header = header.expect("there is the tag");
            let reference = heap::allocate(inner, header, saved)?;
            let words = (*inner).exception_words(exception);
            let values = (*inner).object(reference).add(1);
            std::ptr::copy_nonoverlapping(words.as_ptr(), values, words.len());
            Ok(reference)
        })
    }
}
