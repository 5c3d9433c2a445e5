//! Comma-separated values, one line at a time, with errors that say where.
//!
//! The public traces need no quotes; fields that are in quotes lose them, and may not contain a comma.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The longest line. A day of minutes takes some 3 KiB.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Why a trace cannot be used.
#[derive(Debug)]
pub enum TraceError {
    Read(PathBuf, io::Error),
    /// What is wrong with a file as a whole.
    File(PathBuf, String),
    /// What is wrong with a line; the column by number, from 1, and name.
    Line {
        path: PathBuf,
        line: u64,
        column: Option<(usize, String)>,
        what: String,
    },
    /// The files do not go together.
    Files(String),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Read(path, error) => {
                write!(f, "{}: cannot be read: {error}", path.display())
            }
            TraceError::File(path, what) => write!(f, "{}: {what}", path.display()),
            TraceError::Line {
                path,
                line,
                column,
                what,
            } => {
                write!(f, "{}: line {line}", path.display())?;
                if let Some((number, name)) = column {
                    write!(f, ", column {number} ({name})")?;
                }
                write!(f, ": {what}")
            }
            TraceError::Files(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for TraceError {}

/// A file that is being read.
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    header: Vec<String>,
    line: String,
    number: u64,
    /// Where the fields of the line begin and end.
    fields: Vec<(usize, usize)>,
}

impl Reader {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Reader, TraceError> {
        let file = File::open(path).map_err(|error| TraceError::Read(path.to_owned(), error))?;
        let mut reader = Reader {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 16, file),
            header: Vec::new(),
            line: String::new(),
            number: 0,
            fields: Vec::new(),
        };
        if !reader.read_line()? {
            return Err(reader.error_in_file("it is empty"));
        }
        let fields = 0..reader.fields.len();
        reader.header = fields.map(|index| reader.field(index).to_owned()).collect();
        Ok(reader)
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the line.
    pub fn line(&self) -> u64 {
        self.number
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header
            .iter()
            .position(|other| other.eq_ignore_ascii_case(name))
    }

    /// The column of this name, which must be there.
    pub fn required_column(&self, name: &str) -> Result<usize, TraceError> {
        self.column(name)
            .ok_or_else(|| self.error_in_file(&format!("there is no column {name}")))
    }

    /// Goes to the next line that is not empty. Whether there is one.
    pub fn next_line(&mut self) -> Result<bool, TraceError> {
        while self.read_line()? {
            if self.line.is_empty() {
                continue;
            }
            let (found, expected) = (self.fields.len(), self.header.len());
            if found != expected {
                let what = format!("it has {found} columns, the first line has {expected}");
                return Err(self.error(None, what));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A field of the line.
    pub fn field(&self, column: usize) -> &str {
        let (begin, end) = self.fields[column];
        &self.line[begin..end]
    }

    /// A field that is a number; `unit` says what of.
    pub fn number(&self, column: usize, unit: &str) -> Result<f64, TraceError> {
        match self.field(column).parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(self.not_a_number(column, unit)),
        }
    }

    /// A field that is a count. Some tools write counts as 7.0.
    pub fn count(&self, column: usize) -> Result<u32, TraceError> {
        let field = self.field(column);
        let whole = field.strip_suffix(".0").unwrap_or(field);
        whole
            .parse()
            .map_err(|_| self.not_a_number(column, "calls"))
    }

    fn not_a_number(&self, column: usize, unit: &str) -> TraceError {
        let what = format!("\"{}\" is not a number of {unit}", self.field(column));
        self.error(Some(column), what)
    }

    /// Something is wrong with the line, or a column of it.
    pub fn error(&self, column: Option<usize>, what: String) -> TraceError {
        TraceError::Line {
            path: self.path.clone(),
            line: self.number,
            column: column.map(|index| (index + 1, self.header[index].clone())),
            what,
        }
    }

    pub fn error_in_file(&self, what: &str) -> TraceError {
        TraceError::File(self.path.clone(), what.to_owned())
    }

    fn read_line(&mut self) -> Result<bool, TraceError> {
        self.line.clear();
        self.number += 1;
        let mut limited = io::Read::take(&mut self.input, LINE_BYTES_MAX as u64);
        let bytes = match limited.read_line(&mut self.line) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(self.error(None, "it is not text in UTF-8".into()));
            }
            Err(error) => return Err(TraceError::Read(self.path.clone(), error)),
        };
        if bytes == LINE_BYTES_MAX && !self.line.ends_with('\n') {
            return Err(self.error(None, "it is longer than a MiB; is this a CSV file?".into()));
        }
        let end = self.line.trim_end_matches(['\n', '\r']).len();
        self.line.truncate(end);
        self.fields.clear();
        let mut begin = 0;
        for field in self.line.split(',') {
            let trimmed = field.trim();
            let inner = trimmed
                .strip_prefix('"')
                .and_then(|inner| inner.strip_suffix('"'))
                .unwrap_or(trimmed);
            let offset = inner.as_ptr() as usize - field.as_ptr() as usize;
            let first = begin + offset;
            self.fields.push((first, first + inner.len()));
            begin += field.len() + 1;
        }
        Ok(bytes > 0)
    }
}
