//! Tables.
//!
//! Every access of an entry computes its address in [`Translator::table_entry_address`], and nowhere else.

use super::{Region, Translator};
use crate::compile::trap::TrapKind;
use crate::layout::{Builtin, TABLE_ENTRY_BYTES};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use wasmparser::Operator;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::TableGet { table } => {
            let index = t.pop();
            let address = t.table_entry_address(*table, index);
            let flags = t.entry_flags();
            let entry = t.builder.ins().load(types::I64, flags, address, 0);
            t.push(entry);
        }
        Operator::TableSet { table } => {
            let (index, entry) = t.pop2();
            let address = t.table_entry_address(*table, index);
            let flags = t.entry_flags();
            t.builder.ins().store(flags, entry, address, 0);
        }
        Operator::TableSize { table } => {
            let length = t.table_length(*table);
            t.push_index(length, t.info.tables[*table as usize].index64);
        }
        Operator::TableGrow { table } => t.table_grow(*table),
        Operator::TableFill { table } => {
            let count = t.pop();
            let (destination, entry) = t.pop2();
            let (destination, count) = (t.word(destination), t.word(count));
            let table = t.number(*table);
            t.call_builtin(Builtin::TableFill, &[table, destination, entry, count]);
        }
        Operator::TableCopy {
            dst_table,
            src_table,
        } => {
            t.table_bulk(Builtin::TableCopy, *dst_table, *src_table);
        }
        Operator::TableInit { elem_index, table } => {
            t.table_bulk(Builtin::TableInit, *table, *elem_index);
        }
        Operator::ElemDrop { elem_index } => {
            let flag = t.info.layout.element_flags + *elem_index as i32;
            t.set_flag(flag);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The address of an entry of a table. An index out of bounds gives the address 0, also under misprediction, where
    /// the access faults: it has to carry a trap code.
    pub(super) fn table_entry_address(&mut self, table: u32, index: Value) -> Value {
        let layout = self.info.layout.tables[table as usize];
        let index = self.word(index);
        let length = self.table_length(table);
        let beyond = self
            .builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        let scaled = self
            .builder
            .ins()
            .ishl_imm_u(index, i64::from(TABLE_ENTRY_BYTES.trailing_zeros()));
        let address = match self.imported_table(table) {
            Some(entries) => self.builder.ins().iadd(entries, scaled),
            None => {
                let address = self.builder.ins().iadd(self.vmctx, scaled);
                // The whole address is guarded, with nothing left to add: 0 must stay 0.
                self.builder
                    .ins()
                    .iadd_imm_s(address, i64::from(layout.entries_offset))
            }
        };
        let null = self.builder.ins().iconst(types::I64, 0);
        self.builder
            .ins()
            .select_spectre_guard(beyond, null, address)
    }

    fn entry_flags(&mut self) -> MemFlagsData {
        let flags = MemFlagsData::new()
            .with_aligned()
            .with_trap_code(Some(TrapKind::TableOutOfBounds.code()));
        self.in_region(flags, Region::Table)
    }

    /// The length of a table as a word: a constant if it cannot grow.
    fn table_length(&mut self, table: u32) -> Value {
        if let Some(length) = self.imported_table_length(table) {
            return length;
        }
        let layout = self.info.layout.tables[table as usize];
        if u64::from(layout.capacity) == self.info.tables[table as usize].limits.minimum {
            return self.number(layout.capacity);
        }
        let flags = self.trusted(Region::State);
        self.builder
            .ins()
            .load(types::I64, flags, self.vmctx, layout.length_offset)
    }

    fn table_grow(&mut self, table: u32) {
        let (entry, delta) = self.pop2();
        let delta = self.word(delta);
        let index64 = self.info.tables[table as usize].index64;
        let table = self.number(table);
        let length = self
            .call_builtin(Builtin::TableGrow, &[table, delta, entry])
            .expect("returns the previous length");
        self.push_index(length, index64);
    }

    /// A built-in that takes a table, a table or segment, and three operands.
    fn table_bulk(&mut self, builtin: Builtin, destination: u32, source: u32) {
        let third = self.pop();
        let (first, second) = self.pop2();
        let mut arguments = vec![self.number(destination), self.number(source)];
        for operand in [first, second, third] {
            arguments.push(self.word(operand));
        }
        self.call_builtin(builtin, &arguments);
    }
}
