"""HTTP/1.1 on asyncio, parsed by llhttp: a server (`server`) and an upstream client (`client`)."""
