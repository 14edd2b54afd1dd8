curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/json" \
-d '{"name":"test_metric","gauge":{"value":123}}'

curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/x-ndjson" \
-d '{"name":"test_metric","gauge":{"value":123}}'

# Python is required to prepare the binary data in this example
python3 -c 'import msgpack; \
print(msgpack.packb( \
{"name":"test_metric","gauge":{"value":123}} \
).hex())' \
| xxd -r -p \
| curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/msgpack" \
--data-binary @-

curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/json" \
-d '[{"name":"metric_a","gauge":{"value":3.14}},{"name":"metric_b","counter":{"value":42}}]'

curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/x-ndjson" \
-d $'{"name":"metric_a","gauge":{"value":3.14}}\n{"name":"metric_b","counter":{"value":42}}'

# Python is required to prepare the binary data
python3 -c 'import msgpack; \
print(msgpack.packb( \
[{"name":"metric_a","gauge":{"value":3.14}},{"name":"metric_b","counter":{"value":42}}] \
).hex())' \
| xxd -r -p \
| curl -X POST https://in.logs.betterstack.com/metrics \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/msgpack" \
--data-binary @-

curl -X POST https://in.logs.betterstack.com \
-H "Authorization: Bearer $SOURCE_TOKEN" \
-H "Content-Type: application/json" \
-d '{"name":"test_metric","gauge":{"value":123},"dt":"2023-08-09 07:03:30+00:00"}'
