//! Guest memory as host functions see it: every pointer of the guest is a range that is checked here.
//!
//! Addresses may be unaligned and ranges may overlap; neither matters, for values are copied byte by byte. A range
//! that does not lie in the memory is `EFAULT`, also where arithmetic on the guest's numbers would wrap around.

use super::errno::Errno;
use super::types::IOVEC_BYTES;

/// The most entries of an array of buffers (`IOV_MAX` of Linux); more is `EINVAL`.
pub const IOVECS_MAX: u32 = 1024;

/// The guest's linear memory.
pub struct Memory<'a> {
    bytes: &'a mut [u8],
}

/// A buffer the guest named; checked when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub address: u32,
    pub bytes: u32,
}

/// An array of buffers in guest memory (`iovec_array`, `ciovec_array`), read anew at each use.
#[derive(Clone, Copy)]
pub struct Buffers {
    address: u32,
    count: u32,
}

impl Buffers {
    pub fn new(address: u32, count: u32) -> Result<Buffers, Errno> {
        if count > IOVECS_MAX {
            return Err(Errno::Invalid);
        }
        Ok(Buffers { address, count })
    }

    /// The buffers that are not empty, each checked to lie in memory when it is reached.
    pub fn get(&self, memory: &Memory<'_>, index: u32) -> Result<Buffer, Errno> {
        let entry = memory.array_element(self.address, index, IOVEC_BYTES)?;
        let address = memory.load_u32(entry)?;
        let bytes = memory.load_u32(entry + 4)?;
        memory.slice(address, bytes)?;
        Ok(Buffer { address, bytes })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Checks every buffer and gives their total length, which a guest's 32-bit result must be able to tell.
    pub fn total_bytes(&self, memory: &Memory<'_>) -> Result<u32, Errno> {
        let mut total: u32 = 0;
        for index in 0..self.count {
            let buffer = self.get(memory, index)?;
            total = total.checked_add(buffer.bytes).ok_or(Errno::Invalid)?;
        }
        Ok(total)
    }
}

impl<'a> Memory<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Memory<'a> {
        Memory { bytes }
    }

    /// All of it, for host functions that need several ranges at once; every range is to be checked before.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    pub fn slice(&self, address: u32, bytes: u32) -> Result<&[u8], Errno> {
        let start = address as usize;
        let end = start.checked_add(bytes as usize).ok_or(Errno::Fault)?;
        self.bytes.get(start..end).ok_or(Errno::Fault)
    }

    pub fn slice_mut(&mut self, address: u32, bytes: u32) -> Result<&mut [u8], Errno> {
        let start = address as usize;
        let end = start.checked_add(bytes as usize).ok_or(Errno::Fault)?;
        self.bytes.get_mut(start..end).ok_or(Errno::Fault)
    }

    pub fn store(&mut self, address: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.slice_mut(address, length)?.copy_from_slice(bytes);
        Ok(())
    }

    fn load<const N: usize>(&self, address: u32) -> Result<[u8; N], Errno> {
        let bytes = self.slice(address, N as u32)?;
        Ok(bytes
            .try_into()
            .expect("the slice has the length asked for"))
    }

    pub fn load_u8(&self, address: u32) -> Result<u8, Errno> {
        self.load(address).map(u8::from_le_bytes)
    }

    pub fn load_u16(&self, address: u32) -> Result<u16, Errno> {
        self.load(address).map(u16::from_le_bytes)
    }

    pub fn load_u32(&self, address: u32) -> Result<u32, Errno> {
        self.load(address).map(u32::from_le_bytes)
    }

    pub fn load_u64(&self, address: u32) -> Result<u64, Errno> {
        self.load(address).map(u64::from_le_bytes)
    }

    pub fn store_u32(&mut self, address: u32, value: u32) -> Result<(), Errno> {
        self.store(address, &value.to_le_bytes())
    }

    pub fn store_u64(&mut self, address: u32, value: u64) -> Result<(), Errno> {
        self.store(address, &value.to_le_bytes())
    }

    /// The address of an element of an array, checked to lie in memory with all its bytes.
    pub fn array_element(&self, array: u32, index: u32, bytes: u32) -> Result<u32, Errno> {
        let offset = index.checked_mul(bytes).ok_or(Errno::Fault)?;
        let address = array.checked_add(offset).ok_or(Errno::Fault)?;
        self.slice(address, bytes)?;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_wrap_around_are_faults() {
        let mut bytes = vec![0; 64];
        let mut memory = Memory::new(&mut bytes);
        assert_eq!(memory.slice(u32::MAX, u32::MAX), Err(Errno::Fault));
        assert_eq!(memory.slice(60, 5), Err(Errno::Fault));
        assert_eq!(memory.slice(64, 0), Ok(&[][..]));
        assert_eq!(memory.slice(65, 0), Err(Errno::Fault));
        assert_eq!(memory.store_u64(57, 1), Err(Errno::Fault));
        assert_eq!(memory.store_u64(u32::MAX - 3, 1), Err(Errno::Fault));
        assert_eq!(
            memory.array_element(8, u32::MAX / 8 + 1, 8),
            Err(Errno::Fault)
        );
        assert_eq!(memory.array_element(u32::MAX - 7, 1, 8), Err(Errno::Fault));
    }

    #[test]
    fn arrays_of_buffers_are_bounded() {
        assert!(Buffers::new(0, IOVECS_MAX + 1).is_err());
        let mut bytes = vec![0; 64];
        bytes[0..4].copy_from_slice(&60u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&5u32.to_le_bytes());
        let memory = Memory::new(&mut bytes);
        assert_eq!(
            Buffers::new(0, 1).unwrap().total_bytes(&memory),
            Err(Errno::Fault)
        );
        assert_eq!(Buffers::new(8, 7).unwrap().total_bytes(&memory), Ok(0));
        assert_eq!(
            Buffers::new(8, 8).unwrap().total_bytes(&memory),
            Err(Errno::Fault)
        );
    }

    #[test]
    fn total_length_beyond_32_bits_is_refused() {
        let mut bytes = vec![0; 4096];
        for index in 0..512 {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&(4096u64 << 32).to_le_bytes());
        }
        let memory = Memory::new(&mut bytes);
        // Overlapping buffers are legal; 512 * 4096 fits.
        assert_eq!(
            Buffers::new(0, 512).unwrap().total_bytes(&memory),
            Ok(512 * 4096)
        );
    }
}
