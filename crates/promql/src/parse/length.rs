//! Lengths of time where a selector takes one: literals, `step()`, `range()`, and arithmetic on them.

use crate::ast::{BinaryOp, DurationOp, Kind, Length, NodeId, Span};
use crate::lex::{Item, Preprocessor, Token};
use crate::parse::{Fault, Parser, Parses};

/// More seconds than 64 bits of nanoseconds can count.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    pub(super) fn positive_length(&mut self) -> Parses<Length> {
        let id = self.duration(0)?;
        if let Kind::Number { value, .. } = self.nodes[id.index()].kind
            && value <= 0.0
        {
            return Err(Fault::new(self.span_of(id), "duration must be greater than 0"));
        }
        Ok(self.length(id))
    }

    /// A literal is kept as its length, not as a node.
    pub(super) fn length(&mut self, id: NodeId) -> Length {
        match self.nodes[id.index()].kind {
            Kind::Number { value, .. } => {
                self.nodes.truncate(id.index());
                Length::Millis((value * 1e9).round() as i64 / 1_000_000)
            }
            _ => Length::Expression(id),
        }
    }

    /// What may stand behind `offset`: one signed term. `offset 2 ^ 2` is `(… offset 2) ^ 2`.
    pub(super) fn offset_length(&mut self) -> Parses<Length> {
        if !starts_duration(self.peek()) {
            return Err(self.unexpected("offset", "number, duration, step(), or range()"));
        }
        let id = self.duration_term()?;
        Ok(self.length(id))
    }

    pub(super) fn duration(&mut self, weakest: u8) -> Parses<NodeId> {
        let mut left = self.deeper(|p| match p.peek() {
            Token::Operator(BinaryOp::Add | BinaryOp::Sub) => p.signed_duration(),
            _ => p.duration_term(),
        })?;
        while let Token::Operator(op) = self.peek() {
            use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
            if !matches!(op, Add | Sub | Mul | Div | Mod | Pow) || op.precedence() < weakest {
                break;
            }
            let sign = self.advance().span;
            let right = self.deeper(|p| p.duration(op.precedence() + u8::from(op != Pow)))?;
            if matches!(self.nodes[right.index()].kind, Kind::Number { value: 0.0, .. }) {
                match op {
                    Div => return Err(Fault::new(sign, "division by zero")),
                    Mod => return Err(Fault::new(sign, "modulo by zero")),
                    _ => {}
                }
            }
            let span = Span { start: self.span_of(left).start, end: self.span_of(right).end };
            left = self.push(Kind::Duration(DurationOp::Arithmetic(op, left, right)), span);
        }
        Ok(left)
    }

    /// Within brackets a sign reaches over a power: `-2 ^ 2` is -4.
    pub(super) fn signed_duration(&mut self) -> Parses<NodeId> {
        let sign = self.advance();
        let inner = self.duration(BinaryOp::Pow.precedence())?;
        self.negate_duration(sign, inner)
    }

    pub(super) fn negate_duration(&mut self, sign: Item, inner: NodeId) -> Parses<NodeId> {
        let negative = sign.token == Token::Operator(BinaryOp::Sub);
        let node = &mut self.nodes[inner.index()];
        if let Kind::Number { value, .. } = &mut node.kind {
            *value = if negative { -*value } else { *value };
            node.span.start = sign.span.start;
            return Ok(inner);
        }
        if !negative {
            return Ok(inner);
        }
        let span = Span { start: sign.span.start, end: node.span.end };
        Ok(self.push(Kind::Duration(DurationOp::Negate(inner)), span))
    }

    pub(super) fn duration_term(&mut self) -> Parses<NodeId> {
        match self.peek() {
            Token::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.advance();
                let inner = self.deeper(Self::duration_term)?;
                self.negate_duration(sign, inner)
            }
            Token::Number | Token::Duration => {
                let id = self.number()?;
                match self.nodes[id.index()].kind {
                    // More nanoseconds than fit into 64 bits.
                    Kind::Number { value, .. } if value.is_nan() || value.abs() > SECONDS_MAX => {
                        Err(Fault::new(self.span_of(id), "duration out of range"))
                    }
                    _ => Ok(id),
                }
            }
            Token::LeftParen => {
                let start = self.advance().span.start;
                let inner = self.duration(0)?;
                self.expect(Token::RightParen, "", "")?;
                let span = Span { start, end: self.end_of_last() };
                Ok(self.push(Kind::Duration(DurationOp::Paren(inner)), span))
            }
            Token::Preprocessor(word) => self.duration_function(word),
            _ => Err(self.unexpected("", "")),
        }
    }

    pub(super) fn duration_function(&mut self, word: Preprocessor) -> Parses<NodeId> {
        let start = self.advance().span.start;
        self.expect(Token::LeftParen, "", "")?;
        let op = match word {
            Preprocessor::Step => DurationOp::Step,
            Preprocessor::Range => DurationOp::Range,
            Preprocessor::MinOf | Preprocessor::MaxOf => {
                let left = self.duration(0)?;
                self.expect(Token::Comma, "", "")?;
                let right = self.duration(0)?;
                if word == Preprocessor::MinOf {
                    DurationOp::MinOf(left, right)
                } else {
                    DurationOp::MaxOf(left, right)
                }
            }
            Preprocessor::Start | Preprocessor::End => return Err(self.unexpected("", "")),
        };
        self.expect(Token::RightParen, "", "")?;
        Ok(self.push(Kind::Duration(op), Span { start, end: self.end_of_last() }))
    }
}

pub(super) fn starts_duration(token: Token) -> bool {
    use Preprocessor::{MaxOf, MinOf, Range, Step};
    matches!(
        token,
        Token::Number
            | Token::Duration
            | Token::LeftParen
            | Token::Operator(BinaryOp::Add | BinaryOp::Sub)
            | Token::Preprocessor(Step | Range | MinOf | MaxOf)
    )
}
