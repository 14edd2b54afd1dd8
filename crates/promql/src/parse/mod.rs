//! Tokens to an [`Expr`]: precedence climbing over one vector of nodes.
//!
//! Chains of operators are read by a loop and cost no stack; whatever nests (parentheses, arguments, signs, powers)
//! counts depth. The first error ends the parse, with Prometheus' text for it.

mod length;
mod selector;

use model::Matcher;

use crate::ast::{
    Aggregate, Binary, BinaryOp, Cardinality, Edge, Expr, Kind, Matching, Node, NodeId, Span, ValueType,
    position,
};
use crate::check;
use crate::duration;
use crate::functions;
use crate::lex::{Item, KEYWORDS, Keyword, Lexed, Token, lex};
use crate::literal;
use crate::text::{quoted, quoted_bytes};

/// Bytes of a query at most.
pub const QUERY_BYTES_MAX: usize = 256 << 10;

/// Levels of nesting at most.
pub const DEPTH_MAX: usize = 200;

/// Which experimental parts of the language are read. Upstream's flags of the same names; all off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syntax {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored`, `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
}

impl Syntax {
    /// Everything that can be read.
    pub fn all() -> Self {
        Self { experimental_functions: true, extended_range_selectors: true, fill_modifiers: true }
    }

    /// Every keyword of the language, and whether it is read.
    pub fn keywords(&self) -> impl Iterator<Item = (&'static str, bool)> {
        KEYWORDS.iter().map(|(word, keyword)| {
            let is_read = match keyword {
                Keyword::Anchored | Keyword::Smoothed => self.extended_range_selectors,
                Keyword::Fill | Keyword::FillLeft | Keyword::FillRight => self.fill_modifiers,
                _ => true,
            };
            (*word, is_read)
        })
    }
}

/// Occurs when a text is not PromQL, or does not fit together by type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Where, as `line:column`, both from 1.
    pub position: String,
}

/// Parses and type-checks a query of the stable language.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, &Syntax::default())
}

/// Parses and type-checks a query.
pub fn parse_with(text: &str, syntax: &Syntax) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, syntax)?;
    let root = parser.whole_expression().map_err(|fault| fault.locate(text))?;
    let mut expr = Expr { text: text.to_owned(), nodes: parser.nodes, root };
    check::check(&mut expr).map_err(|fault| fault.locate(text))?;
    Ok(expr)
}

/// Parses a selector without range or modifiers, as in a `match[]` parameter.
pub fn matchers_of_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let syntax = Syntax::default();
    let mut parser = Parser::new(text, &syntax)?;
    parser.whole_selector().map_err(|fault| fault.locate(text))
}

/// An error before it knows its line.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    fn locate(self, text: &str) -> ParseError {
        ParseError { position: position(text, self.span.start), message: self.message, span: self.span }
    }
}

type Parses<T> = Result<T, Fault>;

struct Parser<'a> {
    text: &'a str,
    syntax: &'a Syntax,
    lexed: Lexed,
    at: usize,
    nodes: Vec<Node>,
    depth: usize,
    /// What the regular expressions so far take.
    program_bytes: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, syntax: &'a Syntax) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let message = format!("query of {} bytes, the limit is {QUERY_BYTES_MAX}", text.len());
            return Err(Fault::new(Span::default(), message).locate(text));
        }
        Ok(Self { text, syntax, lexed: lex(text), at: 0, nodes: Vec::new(), depth: 0, program_bytes: 0 })
    }

    fn whole_expression(&mut self) -> Parses<NodeId> {
        if self.peek() == Token::End {
            return Err(Fault::new(Span::default(), "no expression found in input"));
        }
        let root = self.expression(0)?;
        if self.peek() == Token::End { Ok(root) } else { Err(self.unexpected("", "")) }
    }

    fn whole_selector(&mut self) -> Parses<Vec<Matcher>> {
        let id = match self.peek() {
            Token::LeftBrace => self.selector()?,
            token if is_metric_name(token) => self.selector()?,
            _ => return Err(self.unexpected("", "")),
        };
        if self.peek() != Token::End {
            return Err(self.unexpected("", ""));
        }
        match std::mem::replace(&mut self.nodes[id.index()].kind, Kind::Paren(id)) {
            Kind::Vector(selector) => {
                check::selector(&selector, self.span_of(id))?;
                Ok(selector.matchers)
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    // Tokens.

    fn item(&self) -> Item {
        self.lexed.items[self.at.min(self.lexed.items.len() - 1)]
    }

    fn peek(&self) -> Token {
        self.item().token
    }

    fn peek_second(&self) -> Token {
        self.lexed.items[(self.at + 1).min(self.lexed.items.len() - 1)].token
    }

    fn advance(&mut self) -> Item {
        let item = self.item();
        self.at += 1;
        item
    }

    fn accept(&mut self, token: Token) -> Option<Item> {
        (self.peek() == token).then(|| self.advance())
    }

    fn expect(&mut self, token: Token, context: &str, expected: &str) -> Parses<Item> {
        self.accept(token).ok_or_else(|| self.unexpected(context, expected))
    }

    fn text_of(&self, item: Item) -> &'a str {
        &self.text[item.span.start..item.span.end]
    }

    /// One past the last token that was read.
    fn end_of_last(&self) -> usize {
        self.lexed.items[self.at - 1].span.end
    }

    fn unexpected(&self, context: &str, expected: &str) -> Fault {
        let item = self.item();
        if item.token == Token::Error {
            return Fault::new(item.span, self.lexed.error.clone());
        }
        let mut message = format!("unexpected {}", self.describe(item));
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        }
        Fault::new(item.span, message)
    }

    fn describe(&self, item: Item) -> String {
        let text = self.text_of(item);
        let short = || match text.char_indices().nth(10) {
            Some((end, _)) => format!("{}...", quoted(&text[..end])),
            None => quoted(text),
        };
        match item.token {
            Token::End => "end of input".into(),
            Token::Identifier => format!("identifier {}", quoted(text)),
            Token::MetricIdentifier => format!("metric identifier {}", quoted(text)),
            Token::String => format!("string {}", short()),
            Token::Number => format!("number {}", short()),
            Token::Duration => format!("duration {}", short()),
            Token::Keyword(_) => format!("<{text}>"),
            Token::Operator(_) | Token::RegexMatch | Token::RegexNoMatch | Token::At => {
                format!("<op:{text}>")
            }
            Token::Aggregate(_) => format!("<aggr:{text}>"),
            _ => short(),
        }
    }

    // Nodes.

    fn push(&mut self, kind: Kind, span: Span) -> NodeId {
        let value_type = match &kind {
            Kind::Number { .. } | Kind::Duration(_) => ValueType::Scalar,
            Kind::String(_) => ValueType::String,
            Kind::Paren(inner) | Kind::Unary { expr: inner, .. } => self.nodes[inner.index()].value_type,
            Kind::Binary(binary) => {
                let both = [binary.left, binary.right].map(|side| self.nodes[side.index()].value_type);
                if both == [ValueType::Scalar; 2] { ValueType::Scalar } else { ValueType::Vector }
            }
            Kind::Aggregate(_) | Kind::Vector(_) => ValueType::Vector,
            Kind::Call { function, .. } => function.result,
            Kind::Matrix { .. } | Kind::Subquery(_) => ValueType::Matrix,
        };
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { kind, span, value_type });
        id
    }

    fn span_of(&self, id: NodeId) -> Span {
        self.nodes[id.index()].span
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parses<T>) -> Parses<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(
                self.item().span,
                format!("expression is nested more than {DEPTH_MAX} levels deep"),
            ));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    // Expressions.

    fn expression(&mut self, weakest: u8) -> Parses<NodeId> {
        let mut left = self.deeper(Self::operand)?;
        while let Token::Operator(op) = self.peek() {
            if op.precedence() < weakest {
                break;
            }
            self.advance();
            let (return_bool, matching) = self.binary_modifiers()?;
            // All operators lean to the left except for powers.
            let weakest_right = op.precedence() + u8::from(op != BinaryOp::Pow);
            let right = self.deeper(|p| p.expression(weakest_right))?;
            let span = Span { start: self.span_of(left).start, end: self.span_of(right).end };
            let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
            if filled && !self.syntax.fill_modifiers {
                return Err(Fault::new(span, "binop fill modifiers are experimental and not enabled"));
            }
            let binary = Binary { op, left, right, return_bool, matching: Some(matching) };
            left = self.push(Kind::Binary(Box::new(binary)), span);
        }
        Ok(left)
    }

    fn operand(&mut self) -> Parses<NodeId> {
        if let Token::Operator(sign @ (BinaryOp::Add | BinaryOp::Sub)) = self.peek() {
            return self.signed(sign == BinaryOp::Sub);
        }
        let mut expr = self.primary()?;
        loop {
            expr = match self.peek() {
                Token::LeftBracket => self.range_or_subquery(expr)?,
                Token::Keyword(Keyword::Offset) => self.offset(expr)?,
                Token::Keyword(Keyword::Anchored) => self.edge(expr, Edge::Anchored)?,
                Token::Keyword(Keyword::Smoothed) => self.edge(expr, Edge::Smoothed)?,
                Token::At => self.at_modifier(expr)?,
                _ => return Ok(expr),
            };
        }
    }

    /// A sign binds like `*`: weaker than a power, so `-1 ^ 2` is -1.
    fn signed(&mut self, negative: bool) -> Parses<NodeId> {
        let start = self.advance().span.start;
        let expr = self.expression(BinaryOp::Pow.precedence())?;
        let node = &mut self.nodes[expr.index()];
        node.span.start = if matches!(node.kind, Kind::Number { .. }) { start } else { node.span.start };
        if let Kind::Number { value, .. } = &mut node.kind {
            *value = if negative { -*value } else { *value };
            return Ok(expr);
        }
        let span = Span { start, end: node.span.end };
        Ok(self.push(Kind::Unary { negative, expr }, span))
    }

    fn primary(&mut self) -> Parses<NodeId> {
        match self.peek() {
            Token::Number | Token::Duration => self.number(),
            Token::String => {
                let item = self.advance();
                let bytes = self.unquote(item)?;
                Ok(self.push(Kind::String(bytes), item.span))
            }
            Token::LeftParen => {
                let start = self.advance().span.start;
                let inner = self.expression(0)?;
                self.expect(Token::RightParen, "", "")?;
                Ok(self.push(Kind::Paren(inner), Span { start, end: self.end_of_last() }))
            }
            Token::Aggregate(_)
                if matches!(
                    self.peek_second(),
                    Token::LeftParen | Token::Keyword(Keyword::By | Keyword::Without)
                ) =>
            {
                self.aggregate()
            }
            Token::Identifier | Token::Preprocessor(_) if self.peek_second() == Token::LeftParen => {
                self.call()
            }
            Token::LeftBrace => self.selector(),
            token if is_metric_name(token) => self.selector(),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn number(&mut self) -> Parses<NodeId> {
        let item = self.advance();
        let text = self.text_of(item);
        let duration = item.token == Token::Duration;
        let value = if duration {
            duration::parse(text).map(|ms| ms as f64 / 1000.0)
        } else {
            literal::number(text).map_err(|e| format!("error parsing number: {e}"))
        };
        let value = value.map_err(|message| Fault::new(item.span, message))?;
        Ok(self.push(Kind::Number { value, duration }, item.span))
    }

    fn unquote(&self, item: Item) -> Parses<Vec<u8>> {
        let text = self.text_of(item);
        literal::unquote(text).ok_or_else(|| {
            Fault::new(item.span, format!("error unquoting string {}: invalid syntax", quoted(text)))
        })
    }

    /// A string that must be UTF-8: a label value, a label name, a pattern.
    fn unquote_text(&self, item: Item) -> Parses<String> {
        String::from_utf8(self.unquote(item)?).map_err(|e| {
            Fault::new(
                item.span,
                format!("label name or value {} is not valid UTF-8", quoted_bytes(e.as_bytes())),
            )
        })
    }

    fn call(&mut self) -> Parses<NodeId> {
        let item = self.advance();
        let name = self.text_of(item);
        let args = self.arguments()?;
        let function = functions::lookup(name)
            .ok_or_else(|| Fault::new(item.span, format!("unknown function with name {}", quoted(name))))?;
        if function.experimental && !self.syntax.experimental_functions {
            return Err(Fault::new(item.span, format!("function {} is not enabled", quoted(name))));
        }
        let span = Span { start: item.span.start, end: self.end_of_last() };
        Ok(self.push(Kind::Call { function, args }, span))
    }

    fn arguments(&mut self) -> Parses<Vec<NodeId>> {
        self.expect(Token::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.accept(Token::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            if self.accept(Token::RightParen).is_some() {
                return Ok(args);
            }
            let comma = self.expect(Token::Comma, "", "")?;
            if self.peek() == Token::RightParen {
                return Err(Fault::new(comma.span, "trailing commas not allowed in function call args"));
            }
        }
    }

    fn aggregate(&mut self) -> Parses<NodeId> {
        let item = self.advance();
        let Token::Aggregate(op) = item.token else { return Err(self.unexpected("aggregation", "")) };
        let mut modifier = self.grouping()?;
        if self.peek() != Token::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let args = self.arguments()?;
        if modifier.is_none() {
            modifier = self.grouping()?;
        }
        let span = Span { start: item.span.start, end: self.end_of_last() };
        let fault = |message: String| Err(Fault::new(span, message));
        if args.is_empty() {
            return fault("no arguments for aggregate expression provided".into());
        }
        if op.is_experimental() && !self.syntax.experimental_functions {
            return fault(format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            ));
        }
        let (param, expr) = match (op.takes_param(), args.as_slice()) {
            (true, [param, expr]) => (Some(*param), *expr),
            (false, [expr]) => (None, *expr),
            (takes_param, _) => {
                return fault(format!(
                    "wrong number of arguments for aggregate expression provided, expected {}, got {}",
                    1 + usize::from(takes_param),
                    args.len()
                ));
            }
        };
        let (without, grouping) = modifier.unwrap_or_default();
        Ok(self.push(Kind::Aggregate(Box::new(Aggregate { op, expr, param, grouping, without })), span))
    }

    /// `by (…)` or `without (…)`.
    fn grouping(&mut self) -> Parses<Option<(bool, Vec<String>)>> {
        let without = match self.peek() {
            Token::Keyword(Keyword::By) => false,
            Token::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some((without, self.label_list()?)))
    }

    fn label_list(&mut self) -> Parses<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(Token::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.accept(Token::RightParen).is_none() {
            let item = self.item();
            let label = match item.token {
                Token::String => self.unquote_text(item)?,
                token if is_label_name(token) => self.text_of(item).to_owned(),
                _ => return Err(self.unexpected(CONTEXT, "label")),
            };
            if label.is_empty() {
                return Err(Fault::new(item.span, "invalid label name for grouping: \"\""));
            }
            self.advance();
            labels.push(label);
            if self.peek() != Token::RightParen {
                self.expect(Token::Comma, CONTEXT, "\",\" or \")\"")?;
            }
        }
        Ok(labels)
    }

    // Modifiers of binary operators.

    fn binary_modifiers(&mut self) -> Parses<(bool, Matching)> {
        let return_bool = self.accept(Token::Keyword(Keyword::Bool)).is_some();
        let mut matching = Matching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let Token::Keyword(word @ (Keyword::On | Keyword::Ignoring)) = self.peek() {
            self.advance();
            matching.on = word == Keyword::On;
            matching.labels = self.label_list()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok((return_bool, matching))
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Parses<()> {
        matching.cardinality = match self.peek() {
            Token::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            Token::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.advance();
        if self.peek() == Token::LeftParen {
            matching.include = self.label_list()?;
        }
        Ok(())
    }

    /// Either `fill`, or `fill_left` and `fill_right` in any order, each at most once.
    fn fill_modifiers(&mut self, matching: &mut Matching) -> Parses<()> {
        loop {
            let Token::Keyword(word) = self.peek() else { return Ok(()) };
            let allowed = match word {
                Keyword::Fill => matching.fill_left.is_none() && matching.fill_right.is_none(),
                Keyword::FillLeft => matching.fill_left.is_none(),
                Keyword::FillRight => matching.fill_right.is_none(),
                _ => return Ok(()),
            };
            if !allowed {
                return Err(self.unexpected("", ""));
            }
            self.advance();
            let value = Some(self.fill_value()?);
            if word != Keyword::FillRight {
                matching.fill_left = value;
            }
            if word != Keyword::FillLeft {
                matching.fill_right = value;
            }
            if word == Keyword::Fill {
                return Ok(());
            }
        }
    }

    fn fill_value(&mut self) -> Parses<f64> {
        self.expect(Token::LeftParen, "", "")?;
        let value = self.signed_number()?.ok_or_else(|| self.unexpected("", ""))?;
        self.expect(Token::RightParen, "", "")?;
        Ok(value)
    }

    /// A number with at most one sign; `None` when there is none.
    fn signed_number(&mut self) -> Parses<Option<f64>> {
        let sign = match self.peek() {
            Token::Operator(BinaryOp::Sub) => -1.0,
            Token::Operator(BinaryOp::Add) => 1.0,
            Token::Number | Token::Duration => 0.0,
            _ => return Ok(None),
        };
        if sign != 0.0 {
            self.advance();
        }
        if !matches!(self.peek(), Token::Number | Token::Duration) {
            return Ok(None);
        }
        let id = self.number()?;
        match self.nodes.pop().map(|node| node.kind) {
            Some(Kind::Number { value, .. }) => Ok(Some(if sign < 0.0 { -value } else { value })),
            _ => Err(Fault::new(self.span_of(id), "number expected")),
        }
    }
}

/// Words that are metric names where an operand is expected.
fn is_metric_name(token: Token) -> bool {
    use Keyword::{Anchored, By, Fill, FillLeft, FillRight, Offset, Smoothed, Without};
    matches!(
        token,
        Token::Identifier
            | Token::MetricIdentifier
            | Token::Aggregate(_)
            | Token::Preprocessor(_)
            | Token::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
            | Token::Keyword(Anchored | By | Fill | FillLeft | FillRight | Offset | Smoothed | Without)
    )
}

/// Words that are label names in a list of labels.
fn is_label_name(token: Token) -> bool {
    use BinaryOp::{And, Atan2, Or, Unless};
    match token {
        Token::Keyword(word) => word != Keyword::Without,
        Token::Operator(op) => matches!(op, And | Or | Unless | Atan2),
        Token::Identifier | Token::MetricIdentifier | Token::Aggregate(_) | Token::Preprocessor(_) => true,
        _ => false,
    }
}
