//! Tokens to an [`Expr`]: precedence climbing over one vector of nodes.
//!
//! Chains of operators are read by a loop and cost no stack; whatever nests (parentheses, arguments, signs, powers)
//! counts depth. The first error ends the parse, with Prometheus' text for it.

use model::{MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationOp, Edge, Expr, Kind, Length, Matching, Node,
    NodeId, Span, Subquery, ValueType, VectorSelector, position,
};
use crate::check;
use crate::duration;
use crate::functions;
use crate::lex::{Item, Keyword, Lexed, Preprocessor, Token, lex};
use crate::literal;
use crate::text::{float_plain, quoted, quoted_bytes};

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
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, syntax: &'a Syntax) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let message = format!("query of {} bytes, the limit is {QUERY_BYTES_MAX}", text.len());
            return Err(Fault::new(Span::default(), message).locate(text));
        }
        Ok(Self { text, syntax, lexed: lex(text), at: 0, nodes: Vec::new(), depth: 0 })
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

    // Selectors.

    fn selector(&mut self) -> Parses<NodeId> {
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

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parses<()> {
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
                    matchers.push(matcher.map_err(|e| Fault::new(span, e.to_string()))?);
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

    fn range_or_subquery(&mut self, expr: NodeId) -> Parses<NodeId> {
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

    fn range(&mut self, selector: NodeId, range: Length, brackets: Span) -> Parses<NodeId> {
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
    fn modified(&mut self, expr: NodeId, what: &str) -> Parses<(&mut Option<At>, &mut Option<Length>)> {
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

    fn extend_to_last(&mut self, expr: NodeId) -> NodeId {
        let end = self.end_of_last();
        self.nodes[expr.index()].span.end = end;
        expr
    }

    fn offset(&mut self, expr: NodeId) -> Parses<NodeId> {
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

    fn at_modifier(&mut self, expr: NodeId) -> Parses<NodeId> {
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

    fn edge(&mut self, expr: NodeId, edge: Edge) -> Parses<NodeId> {
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

    // Durations.

    fn positive_length(&mut self) -> Parses<Length> {
        let id = self.duration(0)?;
        if let Kind::Number { value, .. } = self.nodes[id.index()].kind
            && value <= 0.0
        {
            return Err(Fault::new(self.span_of(id), "duration must be greater than 0"));
        }
        Ok(self.length(id))
    }

    /// A literal is kept as its length, not as a node.
    fn length(&mut self, id: NodeId) -> Length {
        match self.nodes[id.index()].kind {
            Kind::Number { value, .. } => {
                self.nodes.truncate(id.index());
                Length::Millis((value * 1e9).round() as i64 / 1_000_000)
            }
            _ => Length::Expression(id),
        }
    }

    /// What may stand behind `offset`: one signed term. `offset 2 ^ 2` is `(… offset 2) ^ 2`.
    fn offset_length(&mut self) -> Parses<Length> {
        if !starts_duration(self.peek()) {
            return Err(self.unexpected("offset", "number, duration, step(), or range()"));
        }
        let id = self.duration_term()?;
        Ok(self.length(id))
    }

    fn duration(&mut self, weakest: u8) -> Parses<NodeId> {
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
    fn signed_duration(&mut self) -> Parses<NodeId> {
        let sign = self.advance();
        let inner = self.duration(BinaryOp::Pow.precedence())?;
        self.negate_duration(sign, inner)
    }

    fn negate_duration(&mut self, sign: Item, inner: NodeId) -> Parses<NodeId> {
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

    fn duration_term(&mut self) -> Parses<NodeId> {
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
                    Kind::Number { value, .. } if value.is_nan() || value.abs() > 9_223_372_036.854_776 => {
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

    fn duration_function(&mut self, word: Preprocessor) -> Parses<NodeId> {
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

fn starts_duration(token: Token) -> bool {
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
