"""Writes with PyPI `influxdb` and `influxdb-client`, and prints what each call came back with, a line each.

Arguments: base URL, token, seconds since the epoch.
"""

import sys
from urllib.parse import urlparse

from influxdb import InfluxDBClient as Client1
from influxdb.exceptions import InfluxDBClientError
from influxdb_client import InfluxDBClient as Client2
from influxdb_client import Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

url, token, now = sys.argv[1], sys.argv[2], int(sys.argv[3])
where = urlparse(url)


def tell(what, call):
    try:
        print(what, "ok", call())
    except InfluxDBClientError as error:
        print(what, "status", error.code, error.content)
    except ApiException as error:
        print(what, "status", error.status, error.body)


def points(measurement):
    fields = {"n": 3, "ok": True, "s": 'say "hi"\n', "value": 0.64}
    tags = {"host": "a b,", "re gion": "us=w"}
    return [{"measurement": measurement, "tags": tags, "fields": fields, "time": now}]


def client1(password, **more):
    return Client1(where.hostname, where.port, "any", password, "mydb", **more)


one = client1(token)
tell("v1 ping", one.ping)
tell("v1 create", lambda: one.create_database("mydb"))
tell("v1 list", lambda: [row["name"] for row in one.get_list_database()])
tell("v1 write", lambda: one.write_points(points("py1 load"), time_precision="s"))
tell("v1 gzip", lambda: client1(token, gzip=True).write_points(points("py1_gzip"), time_precision="s"))
tell("v1 bad", lambda: one.write("bad v=x\n", params={"db": "mydb"}, protocol="line"))
tell("v1 wrong", lambda: client1("0123").write_points(points("wrong")))


def client2(its_token, **more):
    return Client2(url=url, token=its_token, org="my-org", **more)


def write2(its_token, measurement, **more):
    point = Point(measurement).tag("loc", "coyote creek").field("f", 1.5).field("level", 1).field("s", "x")
    with client2(its_token, **more) as client:
        api = client.write_api(write_options=SYNCHRONOUS)
        return api.write("bkt", record=point.time(now, WritePrecision.S))


tell("v2 ping", client2(token).ping)
tell("v2 health", lambda: client2(token).health().status)
tell("v2 write", lambda: write2(token, "py2"))
tell("v2 gzip", lambda: write2(token, "py2_gzip", enable_gzip=True))
tell("v2 wrong", lambda: write2("0123", "wrong"))
