"""Train the classic networks on images and text: `python -m project.train model=resnet`."""
