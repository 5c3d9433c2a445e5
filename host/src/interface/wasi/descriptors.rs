//! The descriptors of a guest: its three standard streams and, in `dormouse run`, what it has opened beneath
//! the directories it was given.
//!
//! A table exists only once the guest has changed something: until then all guests share the one that has just the standard
//! streams. Descriptors of this process never reach a guest; its numbers are indices of its own table.

use super::errno::Errno;
use super::types::{FileType, rights};
use crate::interface::stdio::Stream;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most descriptors a guest may have.
pub const DESCRIPTORS_MAX: usize = 4096;

/// What a descriptor refers to.
#[derive(Debug)]
pub enum Object {
    Stream(Stream),
    /// Anything opened that is no directory.
    File {
        file: OwnedFd,
        file_type: FileType,
    },
    /// `preopen` is the guest's name of a directory that was given to it.
    Directory {
        directory: OwnedFd,
        preopen: Option<Box<[u8]>>,
    },
}

#[derive(Debug)]
pub struct Descriptor {
    pub object: Object,
    /// `fdflags` as last set.
    pub flags: u16,
    pub rights_base: u64,
    /// Rights of what is opened beneath it, at most.
    pub rights_inheriting: u64,
}

impl Descriptor {
    const fn stream(stream: Stream) -> Descriptor {
        let right = match stream {
            Stream::Input => rights::FD_READ,
            Stream::Output | Stream::Error => rights::FD_WRITE,
        };
        Descriptor {
            object: Object::Stream(stream),
            flags: 0,
            rights_base: rights::STREAM | right,
            rights_inheriting: 0,
        }
    }

    pub fn file(file: OwnedFd, file_type: FileType, flags: u16, rights_base: u64) -> Descriptor {
        let object = Object::File { file, file_type };
        Descriptor {
            object,
            flags,
            rights_base,
            rights_inheriting: 0,
        }
    }

    pub fn directory(
        directory: OwnedFd,
        preopen: Option<Box<[u8]>>,
        rights_base: u64,
        rights_inheriting: u64,
    ) -> Descriptor {
        let object = Object::Directory { directory, preopen };
        Descriptor {
            object,
            flags: 0,
            rights_base,
            rights_inheriting,
        }
    }

    /// The error a call gets that needs a right the descriptor does not have.
    pub fn require(&self, right: u64) -> Result<(), Errno> {
        if self.rights_base & right == right {
            Ok(())
        } else {
            Err(Errno::NotCapable)
        }
    }

    /// A file in which one can seek: not a stream, not a directory.
    pub fn as_file(&self) -> Result<BorrowedFd<'_>, Errno> {
        match &self.object {
            Object::File { file, .. } => Ok(file.as_fd()),
            Object::Stream(_) => Err(Errno::NotSeekable),
            Object::Directory { .. } => Err(Errno::BadDescriptor),
        }
    }

    pub fn as_directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        match &self.object {
            Object::Directory { directory, .. } => Ok(directory.as_fd()),
            Object::File { .. } | Object::Stream(_) => Err(Errno::NotDirectory),
        }
    }
}

static STANDARD: [Descriptor; 3] = [
    Descriptor::stream(Stream::Input),
    Descriptor::stream(Stream::Output),
    Descriptor::stream(Stream::Error),
];

/// A guest's descriptors by number.
#[derive(Debug, Default)]
pub struct Descriptors {
    table: Option<Vec<Option<Descriptor>>>,
}

impl Descriptors {
    pub fn get(&self, number: u32) -> Result<&Descriptor, Errno> {
        let index = number as usize;
        match &self.table {
            Some(table) => table.get(index).and_then(Option::as_ref),
            None => STANDARD.get(index),
        }
        .ok_or(Errno::BadDescriptor)
    }

    pub fn get_mut(&mut self, number: u32) -> Result<&mut Descriptor, Errno> {
        // A number that is not open must not make a table.
        self.get(number)?;
        let entry = self.table_mut().get_mut(number as usize);
        entry.and_then(Option::as_mut).ok_or(Errno::BadDescriptor)
    }

    /// Takes the lowest free number.
    pub fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let table = self.table_mut();
        let index = table
            .iter()
            .position(Option::is_none)
            .unwrap_or(table.len());
        if index >= DESCRIPTORS_MAX {
            return Err(Errno::TooManyFiles);
        }
        if index == table.len() {
            table.push(None);
        }
        table[index] = Some(descriptor);
        Ok(index as u32)
    }

    pub fn remove(&mut self, number: u32) -> Result<Descriptor, Errno> {
        self.get(number)?;
        let entry = self.table_mut().get_mut(number as usize);
        entry.and_then(Option::take).ok_or(Errno::BadDescriptor)
    }

    /// Moves a descriptor to a number that is open, closing what was there.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(to)?;
        let descriptor = self.remove(from)?;
        self.table_mut()[to as usize] = Some(descriptor);
        Ok(())
    }

    fn table_mut(&mut self) -> &mut Vec<Option<Descriptor>> {
        self.table.get_or_insert_with(|| {
            [Stream::Input, Stream::Output, Stream::Error]
                .map(|stream| Some(Descriptor::stream(stream)))
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_open_make_no_table() {
        let mut descriptors = Descriptors::default();
        for number in [3, 1000, u32::MAX] {
            assert_eq!(
                descriptors.get_mut(number).unwrap_err(),
                Errno::BadDescriptor
            );
            assert_eq!(
                descriptors.remove(number).unwrap_err(),
                Errno::BadDescriptor
            );
            assert_eq!(descriptors.renumber(number, 1), Err(Errno::BadDescriptor));
            assert_eq!(descriptors.renumber(1, number), Err(Errno::BadDescriptor));
        }
        assert!(descriptors.table.is_none());
    }

    #[test]
    fn lowest_free_number_is_taken_and_the_table_is_bounded() {
        let mut descriptors = Descriptors::default();
        descriptors.remove(1).unwrap();
        assert_eq!(descriptors.remove(1).unwrap_err(), Errno::BadDescriptor);
        assert_eq!(
            descriptors.insert(Descriptor::stream(Stream::Output)),
            Ok(1)
        );
        for _ in 3..DESCRIPTORS_MAX {
            descriptors
                .insert(Descriptor::stream(Stream::Output))
                .unwrap();
        }
        assert_eq!(
            descriptors.insert(Descriptor::stream(Stream::Output)),
            Err(Errno::TooManyFiles)
        );
    }

    #[test]
    fn renumbering_moves() {
        let mut descriptors = Descriptors::default();
        descriptors.renumber(2, 1).unwrap();
        assert!(matches!(
            descriptors.get(1).unwrap().object,
            Object::Stream(Stream::Error)
        ));
        assert!(descriptors.get(2).is_err());
        descriptors.renumber(1, 1).unwrap();
        assert!(descriptors.get(1).is_ok());
    }
}
