//! Selectors, and what may follow them: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use model::re2::PROGRAMS_BYTES_MAX;
use model::{MatchOp, Matcher};

use crate::ast::{At, BinaryOp, Edge, Kind, Length, NodeId, Span, Subquery, VectorSelector};
use crate::lex::{Preprocessor, Token};
use crate::parse::length::starts_duration;
use crate::parse::{Fault, Parser, Parses};
use crate::text::float_plain;

impl Parser<'_> {
    pub(super) fn selector(&mut self) -> Parses<NodeId> {
        let start = self.item().span.start;
        let name = match self.peek() {
            Token::LeftBrace => None,
            _ => {
                let item = self.advance();
                Some(self.text_of(item).to_owned())
            }
        };
        let mut matchers = Vec::new();
        if self.accept(Token::LeftBrace).is_some() {
            self.matchers(&mut matchers)?;
        }
        let span = Span { start, end: self.end_of_last() };
        if let Some(name) = &name {
            matchers.push(name_matcher(name, span)?);
        }
        let edge = Edge::Plain;
        let selector =
            VectorSelector { name, matchers, at: None, offset: None, edge, may_match_empty: false };
        Ok(self.push(Kind::Vector(Box::new(selector)), span))
    }

    pub(super) fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parses<()> {
        const CONTEXT: &str = "label matching";
        while self.accept(Token::RightBrace).is_none() {
            let item = self.item();
            let name = match item.token {
                Token::Identifier => self.text_of(item).to_owned(),
                Token::String => self.unquote_text(item)?,
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            };
            self.advance();
            match (match_op(self.peek()), item.token) {
                (Some(op), _) => {
                    self.advance();
                    let value = self.item();
                    if value.token != Token::String {
                        return Err(self.unexpected(CONTEXT, "string"));
                    }
                    self.advance();
                    let span = Span { start: item.span.start, end: value.span.end };
                    let matcher = Matcher::new(&name, op, &self.unquote_text(value)?);
                    let matcher = matcher.map_err(|e| Fault::new(span, e.to_string()))?;
                    self.program_bytes += matcher.program_bytes();
                    if self.program_bytes > PROGRAMS_BYTES_MAX {
                        let message = format!(
                            "the query's regular expressions need more than {PROGRAMS_BYTES_MAX} bytes together"
                        );
                        return Err(Fault::new(span, message));
                    }
                    matchers.push(matcher);
                }
                (None, Token::String) => matchers.push(name_matcher(&name, item.span)?),
                (None, _) => return Err(self.unexpected(CONTEXT, "label matching operator")),
            }
            if self.peek() != Token::RightBrace {
                self.expect(Token::Comma, CONTEXT, "\",\" or \"}\"")?;
            }
        }
        Ok(())
    }

    pub(super) fn range_or_subquery(&mut self, expr: NodeId) -> Parses<NodeId> {
        let open = self.advance().span;
        if !starts_duration(self.peek()) {
            return Err(self.unexpected("subquery or range selector", "number, duration, step(), or range()"));
        }
        let range = self.positive_length()?;
        if self.accept(Token::RightBracket).is_some() {
            return self.range(expr, range, Span { start: open.start, end: self.end_of_last() });
        }
        self.expect(Token::Colon, "subquery or range", "\":\" or \"]\"")?;
        let step = match self.peek() {
            Token::RightBracket => None,
            token if starts_duration(token) => Some(self.positive_length()?),
            _ => {
                let expected = "number, duration, step(), range(), or \"]\"";
                return Err(self.unexpected("subquery selector", expected));
            }
        };
        self.expect(Token::RightBracket, "subquery selector", "\"]\"")?;
        let span = Span { start: self.span_of(expr).start, end: self.end_of_last() };
        Ok(self.push(Kind::Subquery(Box::new(Subquery { expr, range, step, at: None, offset: None })), span))
    }

    pub(super) fn range(&mut self, selector: NodeId, range: Length, brackets: Span) -> Parses<NodeId> {
        let fault = match &self.nodes[selector.index()].kind {
            Kind::Vector(inner) if inner.offset.is_some() => "no offset modifiers allowed before range",
            Kind::Vector(inner) if inner.at.is_some() => "no @ modifiers allowed before range",
            Kind::Vector(_) => {
                let span = Span { start: self.span_of(selector).start, end: brackets.end };
                return Ok(self.push(Kind::Matrix { selector, range }, span));
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(Fault::new(brackets, fault))
    }

    /// Where a selector or subquery keeps its modifiers, or the fault that it is neither.
    pub(super) fn modified(
        &mut self,
        expr: NodeId,
        what: &str,
    ) -> Parses<(&mut Option<At>, &mut Option<Length>)> {
        let span = self.span_of(expr);
        let target = match self.nodes[expr.index()].kind {
            Kind::Matrix { selector, .. } => selector,
            _ => expr,
        };
        match &mut self.nodes[target.index()].kind {
            Kind::Vector(selector) => Ok((&mut selector.at, &mut selector.offset)),
            Kind::Subquery(subquery) => Ok((&mut subquery.at, &mut subquery.offset)),
            _ => Err(Fault::new(
                span,
                format!(
                    "{what} modifier must be preceded by an instant vector selector or range vector selector or a \
                     subquery"
                ),
            )),
        }
    }

    pub(super) fn extend_to_last(&mut self, expr: NodeId) -> NodeId {
        let end = self.end_of_last();
        self.nodes[expr.index()].span.end = end;
        expr
    }

    pub(super) fn offset(&mut self, expr: NodeId) -> Parses<NodeId> {
        self.advance();
        let length = self.offset_length()?;
        let span = self.span_of(expr);
        let (_, offset) = self.modified(expr, "offset")?;
        if offset.is_some() {
            return Err(Fault::new(span, "offset may not be set multiple times"));
        }
        // An offset of zero is none, so another one may follow, as upstream has it.
        *offset = Some(length).filter(|length| *length != Length::Millis(0));
        Ok(self.extend_to_last(expr))
    }

    pub(super) fn at_modifier(&mut self, expr: NodeId) -> Parses<NodeId> {
        self.advance();
        let span = self.span_of(expr);
        let at = match self.peek() {
            Token::Preprocessor(word @ (Preprocessor::Start | Preprocessor::End)) => {
                self.advance();
                self.expect(Token::LeftParen, "@", "timestamp")?;
                self.expect(Token::RightParen, "@", "timestamp")?;
                if word == Preprocessor::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number()?.ok_or_else(|| self.unexpected("@", "timestamp"))?;
                let bound = i64::MAX as f64;
                if !seconds.is_finite() || seconds >= bound || seconds <= -bound {
                    let shown =
                        if seconds.is_finite() { format!("{seconds:.6}") } else { float_plain(seconds) };
                    let message = format!("timestamp out of bounds for @ modifier: {shown}");
                    return Err(Fault::new(span, message));
                }
                At::Time((seconds * 1000.0).round() as i64)
            }
        };
        let (slot, _) = self.modified(expr, "@")?;
        if slot.is_some() {
            return Err(Fault::new(span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        Ok(self.extend_to_last(expr))
    }

    pub(super) fn edge(&mut self, expr: NodeId, edge: Edge) -> Parses<NodeId> {
        self.advance();
        let span = self.span_of(expr);
        let name = if edge == Edge::Anchored { "anchored" } else { "smoothed" };
        if !self.syntax.extended_range_selectors {
            return Err(Fault::new(span, format!("{name} modifier is experimental and not enabled")));
        }
        let target = match self.nodes[expr.index()].kind {
            Kind::Matrix { selector, .. } => selector,
            _ => expr,
        };
        let message = match &mut self.nodes[target.index()].kind {
            Kind::Vector(selector) if selector.edge == Edge::Plain || selector.edge == edge => {
                selector.edge = edge;
                return Ok(expr);
            }
            Kind::Vector(_) => "anchored and smoothed modifiers cannot be used together".to_owned(),
            Kind::Subquery(_) => format!("{name} modifier is not supported for subqueries"),
            _ => format!("{name} modifier not implemented"),
        };
        Err(Fault::new(span, message))
    }
}

fn name_matcher(name: &str, span: Span) -> Parses<Matcher> {
    Matcher::new(model::labels::METRIC_NAME, MatchOp::Equal, name)
        .map_err(|e| Fault::new(span, e.to_string()))
}

fn match_op(token: Token) -> Option<MatchOp> {
    match token {
        Token::Equal => Some(MatchOp::Equal),
        Token::Operator(BinaryOp::Ne) => Some(MatchOp::NotEqual),
        Token::RegexMatch => Some(MatchOp::Regex),
        Token::RegexNoMatch => Some(MatchOp::NotRegex),
        _ => None,
    }
}
