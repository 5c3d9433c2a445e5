//! What is recorded of a function: its versions, and the file that holds the record.
//!
//! ```text
//!   dormouse-manifest 1 <BLAKE3 of all that follows the first line, in hex>\n
//!   { "versions": [ ... ] }
//! ```
//!
//! A manifest is verified before it is parsed, so that a damaged one is never half believed.

use super::config::FunctionConfig;
use super::name::FunctionName;
use crate::interface::Kind;
use serde::{Deserialize, Serialize};

/// The first word of a manifest, with the version of its format.
const MAGIC: &str = "dormouse-manifest 1 ";

/// The most versions kept of a function: the current one and those it can be rolled back to.
pub const VERSIONS_KEPT: usize = 3;

/// One deployed version of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub name: FunctionName,
    /// Follows from the module and the configuration alone: the same deployment has the same id everywhere.
    pub id: String,
    /// Names the module as it was sent, whatever the configuration; empty if it was deployed before there were such ids.
    #[serde(default)]
    pub module_id: String,
    /// Counts how often this machine has compiled the version again, for another compiler or processor.
    pub build: u32,
    pub kind: Kind,
    pub config: FunctionConfig,
    /// Names the compiler that made the artifact.
    pub compiler: String,
    pub wasm_bytes: u64,
    pub artifact_bytes: u64,
    pub image_bytes: u64,
    /// Pages of the image that hold anything but zeros.
    pub image_pages: u64,
    /// When it was deployed, in milliseconds since 1970 (UTC).
    pub created_unix_ms: u64,
    pub compile_us: u64,
    pub init_us: u64,
}

impl Version {
    /// The name of the directory that holds the version's files, unique among a function's.
    pub fn directory(&self) -> String {
        match self.build {
            0 => self.id.clone(),
            build => format!("{}.{build}", self.id),
        }
    }
}

/// Bytes of a version id, written as twice as many hexadecimal digits.
const VERSION_ID_BYTES: usize = 8;
const MODULE_ID_BYTES: usize = 16;

/// The id of a version: a hash of the module as it was sent and of the configuration.
///
/// The compiler has no part in it. A version that is compiled again, because the binary or the machine changed, is
/// still the version its user deployed.
pub fn version_id(module: &[u8], config: &FunctionConfig) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("dormouse 2026 version id");
    hasher.update(&(module.len() as u64).to_le_bytes());
    hasher.update(module);
    hasher.update(&serde_json::to_vec(config).expect("a configuration is plain data"));
    hex(&hasher.finalize().as_bytes()[..VERSION_ID_BYTES])
}

/// The id of a module as it was sent. Versions with the same share what they have in common.
pub fn module_id(module: &[u8]) -> String {
    hex(&blake3::hash(module).as_bytes()[..MODULE_ID_BYTES])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A function with the versions that are kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The current version first, the others by how recently they were current. Never empty.
    versions: Vec<Version>,
}

impl Function {
    /// A function with its first version.
    pub fn new(version: Version) -> Function {
        Function {
            versions: vec![version],
        }
    }

    pub fn name(&self) -> &FunctionName {
        &self.current().name
    }

    /// The version that serves requests.
    pub fn current(&self) -> &Version {
        &self.versions[0]
    }

    /// All versions, the current one first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The version of this id.
    pub fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Makes a version current, in place of one of the same id if there is one. Answers with the versions that are no
    /// longer kept.
    pub(super) fn make_current(&mut self, version: Version) -> Vec<Version> {
        let mut dropped = Vec::new();
        if let Some(at) = self.versions.iter().position(|old| old.id == version.id) {
            let old = self.versions.remove(at);
            if old.build != version.build {
                dropped.push(old);
            }
        }
        self.versions.insert(0, version);
        if self.versions.len() > VERSIONS_KEPT {
            dropped.extend(self.versions.drain(VERSIONS_KEPT..));
        }
        dropped
    }

    /// Puts another build of a version in its place. Answers with the build that is no longer kept.
    pub(super) fn replace(&mut self, version: Version) -> Option<Version> {
        let place = self.versions.iter_mut().find(|old| old.id == version.id)?;
        Some(std::mem::replace(place, version))
    }

    /// Writes the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        body.push('\n');
        let checksum = blake3::hash(body.as_bytes()).to_hex();
        format!("{MAGIC}{checksum}\n{body}").into_bytes()
    }

    /// Reads the manifest of the function of this name. The error says what is wrong with it.
    pub fn decode(name: &FunctionName, bytes: &[u8]) -> Result<Function, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let rest = text
            .strip_prefix(MAGIC)
            .ok_or("it does not begin as a manifest does")?;
        let (checksum, body) = rest.split_once('\n').ok_or("it is cut off")?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != checksum {
            return Err("its checksum does not match".to_owned());
        }
        let function: Function = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if function.versions.is_empty() {
            return Err("it lists no versions".to_owned());
        }
        for version in &function.versions {
            if version.name != *name {
                return Err(format!("it describes the function {}", version.name));
            }
            if version.id.len() != 2 * VERSION_ID_BYTES
                || !version.id.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return Err(format!("{:?} is not the id of a version", version.id));
            }
        }
        Ok(function)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn version(name: &str, module: &[u8]) -> Version {
        let config = FunctionConfig::default();
        Version {
            name: name.parse().unwrap(),
            id: version_id(module, &config),
            module_id: module_id(module),
            build: 0,
            kind: Kind::Command,
            config,
            compiler: "test".to_owned(),
            wasm_bytes: module.len() as u64,
            artifact_bytes: 1,
            image_bytes: 2,
            image_pages: 3,
            created_unix_ms: 4,
            compile_us: 5,
            init_us: 6,
        }
    }

    #[test]
    fn a_manifest_round_trips() {
        let mut function = Function::new(version("f", b"one"));
        function.make_current(version("f", b"two"));
        let name = "f".parse().unwrap();
        assert_eq!(Function::decode(&name, &function.encode()), Ok(function));
    }

    #[test]
    fn any_damage_to_a_manifest_is_noticed() {
        let bytes = Function::new(version("f", b"one")).encode();
        let name = "f".parse().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Function::decode(&name, &damaged).is_err(), "byte {at}");
            assert!(
                Function::decode(&name, &bytes[..at]).is_err(),
                "cut at {at}"
            );
        }
        assert!(Function::decode(&"g".parse().unwrap(), &bytes).is_err());
    }

    #[test]
    fn the_last_versions_are_kept() {
        let mut function = Function::new(version("f", b"1"));
        assert!(function.make_current(version("f", b"2")).is_empty());
        assert!(function.make_current(version("f", b"3")).is_empty());
        let dropped = function.make_current(version("f", b"4"));
        assert_eq!(dropped, [version("f", b"1")]);
        assert!(function.make_current(version("f", b"2")).is_empty());
        let ids: Vec<_> = function.versions().iter().map(|v| v.id.clone()).collect();
        let expected = [b"2", b"4", b"3"].map(|m| version("f", m).id);
        assert_eq!(ids, expected);
        let rebuilt = Version {
            build: 1,
            ..version("f", b"4")
        };
        assert_eq!(function.replace(rebuilt.clone()), Some(version("f", b"4")));
        assert_eq!(function.versions()[1], rebuilt);
    }

    #[test]
    fn the_id_depends_on_module_and_configuration() {
        let config = FunctionConfig::default();
        let mut other = config.clone();
        other.init_entropy = true;
        assert_ne!(version_id(b"a", &config), version_id(b"b", &config));
        assert_ne!(version_id(b"a", &config), version_id(b"a", &other));
        assert_eq!(version_id(b"a", &config).len(), 16);
    }
}
