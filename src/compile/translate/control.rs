//! Structured control: blocks, loops, conditionals, branches.
//!
//! A frame's destination takes its results (a loop's header: its parameters) as block parameters. Blocks are sealed as
//! soon as all branches to them are known, so that SSA construction never has to guess: a destination at `end`, a loop
//! header at the loop's `end`, everything else when it is entered.

use super::signature::clif_type;
use super::{BodyError, Translator};
use crate::compile::info::ValueType;
use crate::compile::trap::TrapKind;
use crate::compile::type_section::value_type;
use cranelift_codegen::ir::{Block, BlockArg, BlockCall, InstBuilder, JumpTableData, Value};
use std::collections::HashMap;
use wasmparser::{BlockType, BrTable, Catch, Operator};

/// One level of the control stack.
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    /// Where branches to this frame go, and how many values they carry.
    target: Block,
    target_arity: usize,
    /// Values the frame leaves on the stack.
    results: usize,
    /// Height of the operand stack below the frame's parameters.
    height: usize,
    /// Whether the frame's beginning was reachable; of other frames only the nesting matters.
    entered: bool,
    /// Whether anything jumps to the target.
    branched: bool,
}

pub(super) enum FrameKind {
    /// `block`, and the body of the function.
    Block,
    Loop,
    /// `if` before its `else`: where the other branch begins, and the frame's parameters, which it starts with.
    If {
        otherwise: Block,
        parameters: Vec<Value>,
    },
    /// `if` after its `else`.
    Else,
    /// `try_table` with its clauses, and where its handler begins, if anything in it throws.
    TryTable {
        catches: Vec<Catch>,
        handler: Option<Block>,
    },
}

/// Translates control operators, also in unreachable code; answers whether this was one.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> Result<bool, BodyError> {
    match operator {
        Operator::Block { blockty } => t.block(*blockty),
        Operator::Loop { blockty } => t.loop_(*blockty),
        Operator::If { blockty } => t.if_(*blockty),
        Operator::TryTable { try_table } => t.try_table(try_table.ty, &try_table.catches),
        Operator::Else => t.else_(),
        Operator::End => t.end(),
        _ if !t.reachable => return Ok(false),
        Operator::Nop => {}
        Operator::Br { relative_depth } => t.br(*relative_depth),
        Operator::BrIf { relative_depth } => t.br_if(*relative_depth),
        Operator::BrTable { targets } => t.br_table(targets)?,
        Operator::Return => t.return_(),
        Operator::Unreachable => {
            t.builder.ins().trap(TrapKind::Unreachable.code());
            t.reachable = false;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

impl Translator<'_> {
    /// Opens the frame of the function's body; branches to it return.
    pub(super) fn enter_body(&mut self, results: &[ValueType]) {
        let target = self.destination(results);
        self.enter(FrameKind::Block, target, results.len(), 0, results.len());
    }

    fn enter(
        &mut self,
        kind: FrameKind,
        target: Block,
        target_arity: usize,
        parameters: usize,
        results: usize,
    ) {
        self.frames.push(Frame {
            kind,
            target,
            target_arity,
            results,
            height: self.stack.len() - parameters,
            entered: true,
            branched: false,
        });
    }

    /// A frame in unreachable code.
    fn enter_unreachable(&mut self) {
        self.frames.push(Frame {
            kind: FrameKind::Block,
            target: Block::from_u32(0),
            target_arity: 0,
            results: 0,
            height: self.stack.len(),
            entered: false,
            branched: false,
        });
    }

    /// A block that takes values of these types.
    fn destination(&mut self, types: &[ValueType]) -> Block {
        let block = self.builder.create_block();
        for ty in types {
            self.builder.append_block_param(block, clif_type(*ty));
        }
        block
    }

    fn block_type(&self, ty: BlockType) -> (Vec<ValueType>, Vec<ValueType>) {
        match ty {
            BlockType::Empty => (Vec::new(), Vec::new()),
            BlockType::Type(ty) => (Vec::new(), vec![value_type(ty)]),
            BlockType::FuncType(index) => {
                let ty = self.info.signature(index);
                (ty.parameters.clone(), ty.results.clone())
            }
        }
    }

    /// The topmost values as arguments of a jump.
    fn arguments(&mut self, count: usize) -> Vec<BlockArg> {
        let start = self.stack.len() - count;
        (start..self.stack.len())
            .map(|index| {
                let value = self.stack[index];
                BlockArg::Value(self.canonical(value))
            })
            .collect()
    }

    pub(super) fn jump(&mut self, target: Block, arity: usize) {
        let arguments = self.arguments(arity);
        self.builder.ins().jump(target, &arguments);
    }

    pub(super) fn switch_to_sealed(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    fn push_block_parameters(&mut self, block: Block) {
        self.stack
            .extend_from_slice(self.builder.block_params(block));
    }

    fn block(&mut self, ty: BlockType) {
        if !self.reachable {
            return self.enter_unreachable();
        }
        let (parameters, results) = self.block_type(ty);
        let target = self.destination(&results);
        self.enter(
            FrameKind::Block,
            target,
            results.len(),
            parameters.len(),
            results.len(),
        );
    }

    fn try_table(&mut self, ty: BlockType, catches: &[Catch]) {
        self.block(ty);
        if self.reachable && !catches.is_empty() {
            let frame = self.frames.last_mut().expect("just entered");
            frame.kind = FrameKind::TryTable {
                catches: catches.to_vec(),
                handler: None,
            };
            self.try_tables.push(self.frames.len() - 1);
        }
    }

    fn loop_(&mut self, ty: BlockType) {
        if !self.reachable {
            return self.enter_unreachable();
        }
        let (parameters, results) = self.block_type(ty);
        let head = self.destination(&parameters);
        // Where no call changes anything, the loop has it from here.
        self.vmctx();
        self.jump(head, parameters.len());
        self.stack.truncate(self.stack.len() - parameters.len());
        self.builder.switch_to_block(head);
        self.push_block_parameters(head);
        self.enter(
            FrameKind::Loop,
            head,
            parameters.len(),
            parameters.len(),
            results.len(),
        );
    }

    fn if_(&mut self, ty: BlockType) {
        if !self.reachable {
            return self.enter_unreachable();
        }
        let (parameters, results) = self.block_type(ty);
        let condition = self.pop();
        let then = self.builder.create_block();
        let otherwise = self.builder.create_block();
        let target = self.destination(&results);
        self.builder
            .ins()
            .brif(condition, then, &[], otherwise, &[]);
        self.switch_to_sealed(then);
        let saved = self.stack[self.stack.len() - parameters.len()..].to_vec();
        let kind = FrameKind::If {
            otherwise,
            parameters: saved,
        };
        self.enter(kind, target, results.len(), parameters.len(), results.len());
    }

    fn else_(&mut self) {
        let frame = self.frames.last_mut().expect("validated: else within if");
        if !frame.entered {
            return;
        }
        let (target, results, height) = (frame.target, frame.results, frame.height);
        let FrameKind::If {
            otherwise,
            parameters,
        } = std::mem::replace(&mut frame.kind, FrameKind::Else)
        else {
            unreachable!("validated: else within if")
        };
        if self.reachable {
            frame.branched = true;
            self.jump(target, results);
        }
        self.stack.truncate(height);
        self.stack.extend(parameters);
        self.switch_to_sealed(otherwise);
        self.reachable = true;
    }

    fn end(&mut self) {
        let mut frame = self.frames.pop().expect("validated: end within a frame");
        if !frame.entered {
            return;
        }
        if let FrameKind::If {
            otherwise,
            parameters,
        } = &mut frame.kind
        {
            // A missing `else` passes the parameters on.
            if self.reachable {
                self.jump(frame.target, frame.results);
            }
            let parameters = std::mem::take(parameters);
            self.switch_to_sealed(*otherwise);
            self.stack.truncate(frame.height);
            self.stack.extend(parameters);
            self.jump(frame.target, frame.results);
            frame.branched = true;
            self.reachable = false;
        }
        if let FrameKind::TryTable { catches, handler } = &frame.kind {
            self.try_tables.pop();
            if let Some(handler) = *handler {
                if self.reachable {
                    self.jump(frame.target, frame.results);
                    frame.branched = true;
                    self.reachable = false;
                }
                self.handle(handler, catches, frame.height);
            }
        }
        match frame.kind {
            FrameKind::Loop => self.builder.seal_block(frame.target),
            _ if frame.branched => {
                if self.reachable {
                    self.jump(frame.target, frame.results);
                }
                self.switch_to_sealed(frame.target);
                self.stack.truncate(frame.height);
                self.push_block_parameters(frame.target);
                self.reachable = true;
            }
            _ => {}
        }
        if !self.reachable {
            self.stack.truncate(frame.height);
        }
        if self.frames.is_empty() && self.reachable {
            self.return_values(frame.results);
        }
    }

    /// The frame a branch of this depth goes to, with how many values; notes the branch.
    pub(super) fn branch_target(&mut self, depth: u32) -> (Block, usize) {
        let index = self.frames.len() - 1 - depth as usize;
        let frame = &mut self.frames[index];
        frame.branched = true;
        (frame.target, frame.target_arity)
    }

    fn br(&mut self, depth: u32) {
        let (target, arity) = self.branch_target(depth);
        self.jump(target, arity);
        self.reachable = false;
    }

    fn br_if(&mut self, depth: u32) {
        let condition = self.pop();
        self.branch_if(condition, depth);
    }

    /// Branches with the topmost values, as many as the label takes, which stay on the stack.
    pub(super) fn branch_if(&mut self, condition: Value, depth: u32) {
        let (target, arity) = self.branch_target(depth);
        let arguments = self.arguments(arity);
        let next = self.builder.create_block();
        self.builder
            .ins()
            .brif(condition, target, &arguments, next, &[]);
        self.switch_to_sealed(next);
    }

    fn br_table(&mut self, table: &BrTable<'_>) -> Result<(), BodyError> {
        let index = self.pop();
        let depths = table.targets().collect::<wasmparser::Result<Vec<u32>>>()?;
        // One block a depth carries the values, so that a long table does not repeat them.
        let mut blocks: HashMap<u32, Block> = HashMap::new();
        let mut carriers = Vec::new();
        let mut edge = |t: &mut Self, depth: u32| {
            let block = *blocks.entry(depth).or_insert_with(|| {
                let (target, arity) = t.branch_target(depth);
                if arity == 0 {
                    return target;
                }
                let carrier = t.builder.create_block();
                carriers.push((depth, carrier));
                carrier
            });
            // Each entry has arguments of its own: SSA construction adds the values of locals to them in place.
            BlockCall::new(block, [], &mut t.builder.func.dfg.value_lists)
        };
        let calls: Vec<BlockCall> = depths.iter().map(|depth| edge(self, *depth)).collect();
        let default = edge(self, table.default());
        let jump_table = self
            .builder
            .create_jump_table(JumpTableData::new(default, &calls));
        self.builder.ins().br_table(index, jump_table);
        for (depth, carrier) in carriers {
            self.switch_to_sealed(carrier);
            let (target, arity) = self.branch_target(depth);
            self.jump(target, arity);
        }
        self.reachable = false;
        Ok(())
    }

    fn return_(&mut self) {
        let results = self.frames[0].results;
        self.return_values(results);
        self.reachable = false;
    }

    fn return_values(&mut self, count: usize) {
        let values = self.canonical_top(count);
        self.builder.ins().return_(&values);
    }

    /// The topmost values as they are passed to and from functions; they stay on the stack.
    pub(super) fn canonical_top(&mut self, count: usize) -> Vec<Value> {
        (self.stack.len() - count..self.stack.len())
            .map(|index| {
                let value = self.stack[index];
                self.canonical(value)
            })
            .collect()
    }
}
