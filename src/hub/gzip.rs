//! The gzip format without its compression: stored blocks only. Enough for a
//! reader to meet a body that it did not ask for.

/// A gzip file that is being written.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    begun: bool,
    crc: u32,
    length: u32,
}

/// Magic number, deflate, no flags, no time, no level, unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const MAX_BLOCK: usize = 0xffff;

impl Gzip {
    /// The next part of the file: whole blocks, readable at once.
    pub(super) fn wrap(&mut self, data: &[u8]) -> Vec<u8> {
        let mut file = self.head();
        for block in data.chunks(MAX_BLOCK) {
            store(&mut file, block, false);
        }
        self.crc = crc32(self.crc, data);
        // The trailer has the length modulo 2^32.
        self.length = self.length.wrapping_add(data.len() as u32);
        file
    }

    /// The end of the file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut file = self.head();
        store(&mut file, &[], true);
        file.extend(self.crc.to_le_bytes());
        file.extend(self.length.to_le_bytes());
        file
    }

    fn head(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.begun, true) { Vec::new() } else { HEAD.to_vec() }
    }
}

fn store(file: &mut Vec<u8>, block: &[u8], last: bool) {
    let length = block.len() as u16;
    file.push(u8::from(last));
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(block);
}

/// The CRC of some bytes after others that had the CRC `before`; 0 for none.
pub(super) fn crc32(before: u32, bytes: &[u8]) -> u32 {
    let mut crc = !before;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_the_standard_does_in_parts_too() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
