"""A virtual RTSP camera: FFmpeg's RTP packetiser behind an asyncio server, with faults on demand.

The demo, the tests and the benchmarks look through it, so what they measure has passed a real network protocol.
"""
